package main

import (
	"context"

	"k8s.io/component-base/cli"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
)

func kubelet() int { return cli.Run(kubeletapp.NewKubeletCommand(context.Background())) }
