.PHONY: bench bench-webhook soak soak-webhook

bench: bench-webhook
bench-webhook: $(SETUP) ## Webhook: reviews over TLS, 1 to 64 at once, and the cost of each stage
	$(PYTHON) bench/webhook.py

soak: soak-webhook
soak-webhook: $(SETUP) ## Webhook: 100,000 hostile reviews over TLS, and 20,000 generated pods for each property
	$(PYTHON) bench/webhook_soak.py
	UNIGPU_EXAMPLES=20000 .venv/bin/pytest -q tests/unit/webhook/test_properties.py
