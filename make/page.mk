# The page in a real browser. axe-core is fetched from npm, for the tests alone.
AXE_VERSION := 4.14.1
AXE_SHA512 := FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==
AXE := build/axe/axe.min.js

.PHONY: axe check-page bench-page
##@ Test
axe: $(AXE) ## Fetch axe-core, the accessibility checker of the page's tests

$(AXE): make/page.mk
	@mkdir -p $(@D)
	cd $(@D) && npm pack --silent axe-core@$(AXE_VERSION) >/dev/null
	@found=$$(openssl dgst -sha512 -binary $(@D)/axe-core-$(AXE_VERSION).tgz | openssl base64 -A); \
	test "$$found" = "$(AXE_SHA512)" || { echo "axe-core isn't the one that make/page.mk names: $$found"; exit 1; }
	@tar -xzf $(@D)/axe-core-$(AXE_VERSION).tgz -C $(@D) --strip-components=1 -m package/axe.min.js

##@ One promise, one check
check-page: packages $(AXE) ## The page in headless Chromium: states, keyboard, accessibility; each command at 80 columns; pictures in build/
	$(CHECK) tests/page tests/unit/page tests/integration/page tests/chart/test_page.py

##@ Benchmarks
bench-page: packages ## The page with 5,000 nodes and 80,000 shares: until it is usable in headless Chromium, and memory
	$(PYTHON) -m bench.page
