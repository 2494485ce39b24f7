# One promise of admission, one command. Those on a cluster bring up one of their own and take it down.
.PHONY: check-manifests check-renewal check-webhook-down check-forgeries check-hostile check-generated

ON_CLUSTER := packages cluster native

##@ One promise, one check
check-manifests: $(ON_CLUSTER) ## The twenty manifests of examples/ through an API server and offline: the outcomes, and both the same
	$(CHECK) tests/cluster/test_manifests.py

check-renewal: $(ON_CLUSTER) ## A certificate renewed every 10 s for 5 minutes, two replicas, pods created throughout: no review fails
	UNIGPU_SECONDS=300 $(CHECK) tests/cluster/test_renewal.py

check-webhook-down: $(ON_CLUSTER) ## No webhook answers, failure policy Fail and Ignore: no GPU without limits, and who slipped past is reported
	$(CHECK) tests/cluster/test_webhook_down.py

check-forgeries: $(ON_CLUSTER) ## Forged unigpu.dev/request and unigpu.dev/allocation, by every way: refused
	$(CHECK) tests/cluster/test_forgeries.py

check-hostile: $(SETUP) ## 100,000 malformed and hostile reviews over TLS: answered or refused cleanly, memory bounded, service up
	$(PYTHON) bench/webhook_soak.py

check-generated: $(SETUP) ## 20,000 generated pods for each property of admission
	UNIGPU_EXAMPLES=20000 $(CHECK) tests/unit/webhook/test_properties.py
