# Guardian as a container beside those it guards:
#
#   docker build -t guardian .
#   docker run -d --name guardian --restart always --network host --oom-score-adj -900 --ulimit memlock=-1 \
#     --user 1000:$(stat -c %g /var/run/docker.sock) -v /var/run/docker.sock:/var/run/docker.sock \
#     -v /etc/guardian:/etc/guardian:ro -v guardian-state:/var/lib/guardian -v /var/lib/docker:/var/lib/docker:ro guardian
#
# The group that owns the engine's socket is given by number, since it differs from host to host. The host's network: the status
# page listens on its loopback. Docker's folder, read-only: for the signal `disk` alone; unknown without it.
#
# Where no base image can be pulled, any with Python 3.11 or newer and its venv will do, such as an imported Debian root:
#
#   mmdebstrap --variant=minbase --include=python3,python3-venv bookworm - | docker import - debian-python
#   docker build -t guardian --build-arg BASE=debian-python .
#
# And where PyPI cannot be reached, wheels of all that the locks name, in a folder `wheels` beside this file:
#   --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/src
ARG BASE=python:3.11-slim
FROM ${BASE} AS build
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
WORKDIR /src
COPY requirements.txt requirements-build.txt wheel[s] ./
RUN python3 -m venv /opt/guardian \
 && /opt/guardian/bin/pip install --no-cache-dir --require-hashes -r requirements.txt \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY guardian guardian
RUN /opt/build/bin/hatchling build -t wheel && /opt/guardian/bin/pip install --no-cache-dir --no-deps --no-index dist/*.whl

FROM ${BASE}
RUN useradd --system --user-group --uid 1000 --home-dir /nonexistent --shell /usr/sbin/nologin guardian \
 && install -d -o guardian -g guardian -m 0770 /var/lib/guardian /run/guardian
COPY --from=build /opt/guardian /opt/guardian
COPY config/guardian.yaml /etc/guardian/guardian.yaml
ENV PATH=/opt/guardian/bin:$PATH PYTHONUNBUFFERED=1
USER guardian
VOLUME /var/lib/guardian
# Healthy while ticks complete. Python, since a slim image has no curl.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9877/healthz', timeout=4)"]
ENTRYPOINT ["guardian"]
CMD ["run", "--config", "/etc/guardian/guardian.yaml"]
