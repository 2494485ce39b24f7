# What a release publishes: images, chart, wheels, libvgpu, a bundle. RELEASE.md has the steps.
.PHONY: dist check-dist packages-release

packages-release:
	@python3 -m demo.packages --release

##@ Release
dist: $(SETUP) packages-release ## Build images for amd64 and arm64, chart, wheels, libvgpu and a bundle from the last commit, into build/dist
	$(PYTHON) -m release

##@ Minutes to hours
check-dist: $(SETUP) packages-release ## Build the release twice and compare; run its wheels, push its images, run the other processor's libvgpu
	$(PYTHON) -m release.check
