# A base as the vendors' images are, for a machine without an accelerator: Debian, with vLLM in a
# Python that is not on PATH. Not for use: it is what scripts/container-test builds the Dockerfile on.
ARG DEBIAN
# A local image, named by what it is made of.
# hadolint ignore=DL3006
FROM ${DEBIAN}
COPY engine-cpu.txt /tmp/
ARG PIP_OPTIONS=
ARG MISMATCHED=
# Both hold several words.
# hadolint ignore=SC2086
RUN python3 -m venv /opt/conda \
    && /opt/conda/bin/pip install --no-cache-dir --progress-bar off ${PIP_OPTIONS} -r /tmp/engine-cpu.txt \
    && /opt/conda/bin/pip uninstall --yes ${MISMATCHED} \
    && rm /tmp/engine-cpu.txt
