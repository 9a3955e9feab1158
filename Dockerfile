# The hub's services, one command word each: gateway, runner.
ARG DEBIAN_IMAGE=debian:bookworm-slim

# The command line of Docker and its Compose plugin, of which Debian has newer ones than this release, as two plain binaries.
FROM ${DEBIAN_IMAGE} AS docker
ARG TOOLS_SUITE=trixie
RUN cp -r /etc/apt /tmp/apt && cd /tmp/apt \
    && sed -i "s/bookworm/${TOOLS_SUITE}/g" $(find . -name '*.list' -o -name '*.sources') \
    && apt-get -o Dir::Etc=/tmp/apt update \
    && cd /tmp && apt-get -o Dir::Etc=/tmp/apt -o APT::Sandbox::User=root download docker-cli docker-compose \
    && for package in *.deb; do dpkg-deb -x "$package" /tmp/root; done

# The hub itself, in a virtual environment.
FROM ${DEBIAN_IMAGE} AS hub
RUN echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/unsafe-io \
    && apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv
# The certificates of this machine, where it trusts some of its own (a company's proxy); see tools/ca_bundle.sh.
COPY requirements.lock deploy/ca-bundle.cr[t] /tmp/build/
RUN if [ -s /tmp/build/ca-bundle.crt ]; then export PIP_CERT=/tmp/build/ca-bundle.crt; fi \
    && python3 -m venv /opt/pyexecutorhub \
    && /opt/pyexecutorhub/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes -r /tmp/build/requirements.lock
COPY pyproject.toml README.md /tmp/source/
COPY schemas /tmp/source/schemas
COPY bus /tmp/source/bus
COPY runner /tmp/source/runner
COPY gateway /tmp/source/gateway
COPY hub /tmp/source/hub
# Once installed, neither pip nor what builds packages is needed again.
RUN /opt/pyexecutorhub/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps --no-build-isolation /tmp/source \
    && /opt/pyexecutorhub/bin/pip uninstall -y setuptools pip

FROM ${DEBIAN_IMAGE}
RUN echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/unsafe-io \
    && apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent hub \
    && install -d -o hub -g hub -m 700 /var/lib/pyexecutorhub
COPY --from=docker /tmp/root/usr/bin/docker /usr/bin/docker
COPY --from=docker /tmp/root/usr/libexec/docker/cli-plugins/docker-compose /usr/libexec/docker/cli-plugins/docker-compose
COPY --from=hub /opt/pyexecutorhub /opt/pyexecutorhub

ENV PATH=/opt/pyexecutorhub/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANG=C.UTF-8 \
    HOME=/tmp \
    HUB_STATE_DIR=/var/lib/pyexecutorhub

# A runner, which must reach Docker's socket, says that it is somebody else.
USER hub
EXPOSE 8001
ENTRYPOINT ["pyexecutorhub"]
CMD ["--help"]
