.PHONY: bench bench-webhook soak soak-webhook

bench: bench-webhook
##@ Benchmarks
bench-webhook: $(SETUP) ## Webhook: reviews over TLS compared with a server that answers a constant, 1 to 64 at once; cost of each stage
	$(PYTHON) bench/webhook.py

.PHONY: check-limits
##@ One promise, one check
check-limits: packages cluster ## Limit changes with kubectl beyond free capacity, malformed or without permission are refused and change nothing
	$(CHECK) tests/integration/cli tests/integration/webhook/test_limits.py

soak: soak-webhook
##@ Minutes to hours
soak-webhook: check-hostile check-generated ## Webhook: hostile reviews and generated pods at full length
