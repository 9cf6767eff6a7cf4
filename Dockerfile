# factcli on CPUs:
#   docker build -t factcli .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" -v factcli-cache:/cache factcli convert MODEL --keep 0.4
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    HF_HOME=/cache/huggingface FACTCLI_CACHE=/cache/factcli

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY factcli factcli
# With --build-arg PIP_EXTRA_INDEX_URL=… the index of PyTorch's builds for CPUs: the image is gigabytes smaller.
ARG PIP_EXTRA_INDEX_URL=""
RUN pip install --constraint constraints.txt ".[onnx,openvino]" \
    && rm -rf /src/* \
    && useradd --create-home --uid 1000 user \
    && mkdir --parents /cache /work \
    && chmod 1777 /cache /work

USER user
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["factcli"]
CMD ["--help"]
