# One image for the web, worker and scheduler processes; the command says which.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/astrocore
COPY requirements-production.lock ./
RUN /opt/astrocore/bin/pip install --require-hashes --no-deps --only-binary :all: -r requirements-production.lock
COPY . .
RUN /opt/astrocore/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
ENV PATH=/opt/astrocore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ASTROCORE_ENVIRONMENT=production \
    ASTROCORE_DATA_DIR=/var/lib/astrocore \
    ASTROCORE_WEB_HOST=0.0.0.0 \
    ASTROCORE_WEB_PORT=8080
RUN useradd --system --uid 10001 --home-dir /var/lib/astrocore --create-home astrocore \
    && install --directory --owner astrocore --mode 750 /var/lib/astrocore-archives
COPY --from=build /opt/astrocore /opt/astrocore
USER 10001
WORKDIR /var/lib/astrocore
EXPOSE 8080
CMD ["astrocore", "--help"]
