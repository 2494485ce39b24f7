"""The kubelet's side: device plugin, pod-resources API, whose slots these are."""
