package main

import (
	_ "time/tzdata" // CronJobs name time zones, and a scratch image has no files of them

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics on each component's /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric

	apiserverapp "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllerapp "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxyapp "k8s.io/kubernetes/cmd/kube-proxy/app"
	schedulerapp "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func init() {
	programs["kube-apiserver"] = apiserver
	programs["kube-controller-manager"] = controllerManager
	programs["kube-proxy"] = proxy
	programs["kube-scheduler"] = scheduler
	programs["kubelet"] = kubelet
}

func apiserver() int { return cli.Run(apiserverapp.NewAPIServerCommand()) }

func controllerManager() int { return cli.Run(controllerapp.NewControllerManagerCommand()) }

func scheduler() int { return cli.Run(schedulerapp.NewSchedulerCommand()) }

func proxy() int { return cli.Run(proxyapp.NewProxyCommand()) }
