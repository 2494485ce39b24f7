// Command kueue-counts prints what Kueue counts for pods, so that a configuration of Kueue can be tried without running it.
//
// The configuration is read and checked, and the amounts are computed, by Kueue's own packages; this program only joins
// them. Usage: kueue-counts CONFIGURATION < a JSON list of pod specs; it prints a JSON list of resources with amounts.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	configapi "sigs.k8s.io/kueue/apis/config/v1beta2"
	kueue "sigs.k8s.io/kueue/apis/kueue/v1beta2"
	"sigs.k8s.io/kueue/pkg/config"
	// Kueue refuses a configuration with a kind of job that no package stands for; by default this is the only one.
	_ "sigs.k8s.io/kueue/pkg/controller/jobs/job"
	"sigs.k8s.io/kueue/pkg/workload"
)

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: kueue-counts CONFIGURATION < a JSON list of pod specs"))
	}
	options, err := read(os.Args[1])
	if err != nil {
		fail(fmt.Errorf("Kueue refuses %s: %w", os.Args[1], err))
	}
	var specs []corev1.PodSpec
	if err := json.NewDecoder(os.Stdin).Decode(&specs); err != nil {
		fail(fmt.Errorf("standard input is not a JSON list of pod specs: %w", err))
	}
	counts := make([]map[corev1.ResourceName]int64, 0, len(specs))
	for _, spec := range specs {
		counts = append(counts, count(spec, options))
	}
	if err := json.NewEncoder(os.Stdout).Encode(counts); err != nil {
		fail(err)
	}
}

// read loads the configuration as Kueue does when it starts, and returns what it says of resources.
func read(path string) ([]workload.InfoOption, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, configapi.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	_, loaded, err := config.Load(scheme, path)
	if err != nil || loaded.Resources == nil {
		return nil, err
	}
	return []workload.InfoOption{
		workload.WithExcludedResourcePrefixes(loaded.Resources.ExcludeResourcePrefixes),
		workload.WithResourceTransformations(loaded.Resources.Transformations),
	}, nil
}

// count returns what a job with one such pod uses of a quota.
func count(spec corev1.PodSpec, options []workload.InfoOption) map[corev1.ResourceName]int64 {
	workload.UseLimitsAsMissingRequestsInPod(&spec)
	podSet := kueue.PodSet{Name: "main", Count: 1, Template: corev1.PodTemplateSpec{Spec: spec}}
	job := &kueue.Workload{Spec: kueue.WorkloadSpec{PodSets: []kueue.PodSet{podSet}}}
	return workload.NewInfo(job, options...).TotalRequests[0].Requests
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
