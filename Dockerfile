# A slim image: the app as an ordinary user, on port 7860, with its data under /data.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 hermes \
    && mkdir /data && chown hermes:hermes /data
WORKDIR /home/hermes/app

# The CPU build of torch is a tenth of the default one; a GPU image sets TORCH_INDEX empty.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# On a GPU the attention kernels are compiled where they run, with a C compiler.
RUN [ -n "$TORCH_INDEX" ] || (apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*)
COPY requirements.txt .
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX} -r requirements.txt

COPY --chown=hermes:hermes . .
USER hermes

ENV HERMES_HOST=0.0.0.0 \
    HERMES_PORT=7860 \
    HERMES_DATA_DIR=/data \
    HF_HOME=/data/huggingface \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=5)"]
CMD ["python", "app.py"]
