# One promise of admission, one command. Those on a cluster bring up one of their own and take it down.
.PHONY: check-parsers check-manifests check-renewal check-webhook-down check-forgeries check-hostile check-generated

ON_CLUSTER := packages cluster native

##@ One promise, one check
check-manifests: $(ON_CLUSTER) ## The twenty manifests of examples/, through an API server and offline, have the same outcomes
	$(CHECK) tests/cluster/test_manifests.py

check-renewal: $(ON_CLUSTER) ## A certificate renewed every 10 s for 5 minutes, two replicas, pods created all the time: no review fails
	UNIGPU_SECONDS=300 $(CHECK) tests/cluster/test_renewal.py

check-webhook-down: $(ON_CLUSTER) ## No webhook answers, with failure policy Fail and Ignore: no pod gets a GPU without limits, skipped pods are reported
	$(CHECK) tests/cluster/test_webhook_down.py

check-forgeries: $(ON_CLUSTER) ## Forged unigpu.dev/request and unigpu.dev/allocation are refused, however they are written
	$(CHECK) tests/cluster/test_forgeries.py

check-parsers: $(SETUP) ## 1,000,000 generated inputs for each parser of text that others write: a value or its own error
	$(PYTHON) -m tests.unit.fuzz

check-hostile: $(SETUP) ## 100,000 malformed and hostile reviews over TLS: each answered or refused cleanly, memory bounded, service up
	$(PYTHON) bench/webhook_soak.py

check-generated: $(SETUP) ## Every property of admission holds for 20,000 generated pods
	UNIGPU_EXAMPLES=20000 $(CHECK) tests/unit/webhook/test_properties.py
