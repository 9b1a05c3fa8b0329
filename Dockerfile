FROM python:3.13-slim AS build
WORKDIR /src
# .dockerignore admits the sources of the wheel and the lock, and nothing else.
COPY . .
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --copies --without-pip /opt/faultproxy \
 && pip install --require-hashes -r requirements/build.txt \
 && pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && pip --python /opt/faultproxy install --require-hashes -r requirements/run.txt \
 && pip --python /opt/faultproxy install --no-deps /wheel/*.whl

FROM python:3.13-slim AS installed
COPY --from=build /opt/faultproxy /opt/faultproxy
# nftables and iproute2 (which takes libcap2-bin) are for `faultproxy intercept --apply`.
# What the ordinary user may have, if the container has it (docs/privileges.md). Permitted, not effective: so it starts
# without them too, and degrades.
RUN apt-get update -q >/dev/null \
 && apt-get install -y -q --no-install-recommends libcap2-bin nftables iproute2 >/dev/null \
 && setcap cap_net_raw,cap_net_admin+p "$(sed -n '1s/^#!//p' /opt/faultproxy/bin/faultproxy)" \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/faultproxy/bin:$PATH

# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM

# docker build --target toxiproxy -t faultproxy:toxiproxy . makes the image that takes the place of Toxiproxy's
# (docs/toxiproxy.md). As that one's, its arguments are the server's flags, and it has no health check.
FROM installed AS toxiproxy
ENTRYPOINT ["faultproxy", "toxiproxy"]
CMD ["-host=0.0.0.0"]
EXPOSE 8474

FROM installed

# Mount the directory, not the file: an editor that writes a new file and renames it leaves a mounted file behind.
ENTRYPOINT ["faultproxy"]
CMD ["run", "/etc/faultproxy/faultproxy.yaml"]

# Alive means that its event loop turns: it looks at its file four times a second, so a second never passes without
# process 1 going to sleep and waking (proc(5), voluntary_ctxt_switches). Connecting to it would be no check: that takes
# numbers that rules count, gets their faults, and fails during an outage that was asked for.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["python", "-c", "\
import sys, time\n\
turns = lambda: open('/proc/1/status').read().split('\\nvoluntary_ctxt_switches:')[1].split()[0]\n\
before = turns()\n\
time.sleep(1)\n\
sys.exit(turns() == before)"]
