# The documentation as a site. Its generator has an environment of its own: nobody else needs it.
.PHONY: docs
SITE_PYTHON := build/docs-python

##@ Develop
docs: $(SETUP) $(SITE_PYTHON)/.ready ## Build the documentation as a site in build/site; fails if a link leads nowhere
	$(PYTHON) -m docsite --python $(SITE_PYTHON)/bin/python

$(SITE_PYTHON)/.ready: docsite/requirements.lock
	python3 -m venv $(SITE_PYTHON)
	$(SITE_PYTHON)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r docsite/requirements.lock
	touch $@
