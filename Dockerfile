# Two images: `--target services` is unigpu, `--target probe` runs the examples' small GPU program.
#
# Beforehand, on the machine that builds: `make native` (libvgpu.so and the simulated driver, for services; probe, for probe). BASE is any image of
# Debian's or Ubuntu's family with python3 ≥ 3.11 and its venv module; it needs no compiler.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
# Where pip finds its packages and whom it trusts, if not its own defaults.
ARG PIP_INDEX_URL
ARG PIP_CERT
COPY requirements.lock /tmp/requirements.lock
RUN python3 -m venv /opt/unigpu/python \
 && /opt/unigpu/python/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
      --require-hashes -r /tmp/requirements.lock \
 && /opt/unigpu/python/bin/python -m pip uninstall --quiet --yes setuptools pip

FROM dependencies AS code
COPY unigpu /opt/unigpu/app/unigpu
COPY unigpu_kube /opt/unigpu/app/unigpu_kube
COPY unigpu_service /opt/unigpu/app/unigpu_service
COPY unigpu_node /opt/unigpu/app/unigpu_node
COPY webhook /opt/unigpu/app/webhook
COPY scheduler /opt/unigpu/app/scheduler
COPY deviceplugin /opt/unigpu/app/deviceplugin
COPY exporter /opt/unigpu/app/exporter
COPY cli /opt/unigpu/app/cli
COPY simulator /opt/unigpu/app/simulator
COPY page /opt/unigpu/app/page
# Compiled here: at run time the root file system is read-only.
RUN /opt/unigpu/python/bin/python -m compileall -q /opt/unigpu/app

FROM ${BASE} AS services
COPY --from=dependencies /opt/unigpu/python /opt/unigpu/python
COPY build/lib/libvgpu.so /opt/unigpu/lib/libvgpu.so
COPY build/simulator /opt/unigpu/simulator
COPY --from=code /opt/unigpu/app /opt/unigpu/app
ENV PATH=/opt/unigpu/python/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/opt/unigpu/app PYTHONDONTWRITEBYTECODE=1
# The simulated driver, for trials on clusters without GPUs.
ENV UNIGPU_SIM_LIBRARIES=/opt/unigpu/simulator
# The node agent's pod sets root for itself; nobody else needs it.
USER 65532:65532
CMD ["python", "-m", "cli", "--help"]

FROM ${BASE} AS probe
COPY build/probe/probe /usr/local/bin/probe
USER 65532:65532
CMD ["probe"]
