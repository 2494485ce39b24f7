package main

import (
	"k8s.io/component-base/cli"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
)

// Its command took no context yet.
func kubelet() int { return cli.Run(kubeletapp.NewKubeletCommand()) }
