# Evalgate on an image that brings a vLLM of its own: the gateway, the launcher and the model.
#   docker build -t evalgate --build-arg MODEL_ID=owner/name --build-arg MODEL_REVISION=v1 .
# An evaluator runs a plain `docker build .`: write your model into the two ARG lines below.
#
# Also for newer MetaX images, vllm/vllm-openai, an Ascend image, and a CPU base. It needs no
# BuildKit: an evaluator's builder is unknown, and the classic one refuses `RUN --mount`.
ARG BASE_IMAGE=cr.metax-tech.com/public-ai-release/maca/vllm:maca.ai3.1.0.7-torch2.6-py310-ubuntu22.04-amd64
ARG MODEL_ID=
ARG MODEL_REVISION=

# ---- the gateway's own environment, beside the base's packages
FROM ${BASE_IMAGE} AS program
WORKDIR /opt/evalgate
ENV EVALGATE_CACHE=/opt/evalgate/cache
COPY scripts/find-python scripts/container-packages scripts/
RUN scripts/container-packages >base-packages.txt \
    && { grep -E '^(vllm|torch)' base-packages.txt || echo "evalgate: this base has no vLLM" >&2; }
COPY requirements.txt ./
COPY launcher/__init__.py launcher/errors.py launcher/install_step.py launcher/interrupts.py \
     launcher/uv*.py launcher/virtualenv.py launcher/
# The MetaX image has its Python there, off PATH.
RUN PATH="/opt/conda/bin:$PATH" \
    && PIP_NO_CACHE_DIR=1 "$(scripts/find-python)" -m launcher.virtualenv .venv requirements.txt

# ---- what fetching a model takes, and no more: changes elsewhere do not fetch it again
FROM program AS fetcher
COPY launcher/__main__.py launcher/model*.py launcher/pocket* launcher/interpreter.py \
     launcher/resolve.py launcher/sett*.py launcher/
COPY scripts/container-model scripts/
# A draft model or a LoRA adapter is fetched as well (docs/configuration.md), named here:
# ENV ENABLE_SPECULATIVE_DECODING=1 SPEC_METHOD=draft SPEC_MODEL_ID=owner/name

# ---- a private model, in a stage whose history the image does not have, so that the token is in
# none of its layers. As an argument, for evaluators that know no secrets:
#   docker build --build-arg MODELSCOPE_API_TOKEN=… .
# As a secret, which not even the builder's cache keeps; it takes BuildKit or podman, so that the line
# for it is a comment until it is asked for:
#   sed 's/^# secret: //' Dockerfile | docker build --secret id=MODELSCOPE_API_TOKEN,src=FILE -f - .
FROM fetcher AS gated
ARG MODEL_ID
ARG MODEL_REVISION
ARG MODELSCOPE_ENDPOINT=
# secret: RUN --mount=type=secret,id=MODELSCOPE_API_TOKEN scripts/container-model private
# A token in an argument is the very thing that this stage is for.
# hadolint ignore=DL3064
ARG MODELSCOPE_API_TOKEN=
RUN scripts/container-model private

# ---- the image
FROM fetcher
ARG MODEL_ID
ARG MODEL_REVISION
ARG MODELSCOPE_ENDPOINT=
# Nothing, unless there was a token; then the next step finds everything there.
COPY --from=gated /opt/evalgate/model model
RUN scripts/container-model
# Not before: buildah takes an ENV from its cache whatever the argument in it is by now.
ENV MODEL_ID=${MODEL_ID} MODEL_REVISION=${MODEL_REVISION}
COPY gateway gateway
COPY launcher launcher
COPY policies policies
COPY scripts scripts
COPY serve.py supervisord.conf ./
# Offline from here on. The port opens once the engine is warm, as the evaluator's template does it.
# A base may tell Python to write no byte code: what restarts after a crash would compile it all again.
ENV PATH=/opt/evalgate/bin:$PATH \
    HOLD_PORT_UNTIL_WARM=1 \
    PYTHONDONTWRITEBYTECODE= \
    HF_HUB_OFFLINE=1 \
    TRANSFORMERS_OFFLINE=1 \
    HF_DATASETS_OFFLINE=1 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1
# A line like `ENV MAX_NEW_TOKENS=256` here sets what only serving reads (docs/configuration.md). What
# the download reads too goes into the `fetcher` stage: MODEL_ROOT, MODEL_DOWNLOAD_BUDGET_S, a chat
# template by ENGINE_EXTRA_ARGS, drafts and adapters.
# An engine may refuse to tell its arguments (exit 1) where its card is missing: then it is asked at
# its start. No engine at all (exit 3) ends the build here, and so does a changed base.
RUN mkdir -p bin run/logs \
    && ln -s ../.venv/bin/uvicorn ../.venv/bin/supervisorctl bin/ \
    && .venv/bin/python -m gateway --check \
    && .venv/bin/python -c 'import launcher.guardian, launcher.plan, launcher.standalone' \
    && { .venv/bin/python -m launcher flags >/dev/null || [ $? -eq 1 ]; } \
    && scripts/container-packages >/tmp/packages.txt \
    && cmp base-packages.txt /tmp/packages.txt \
    && rm /tmp/packages.txt
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 \
    CMD ["/opt/evalgate/scripts/container-health"]
ENTRYPOINT []
CMD ["/opt/evalgate/scripts/container-start"]
