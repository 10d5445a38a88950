# The same root file system that `./build.sh image` packs without an engine, for those who build with one. With the static build there is nothing to
# collect: `RUN ./build.sh publish --static`, then `COPY --from=build /src/artifacts/sidecar-static /sidecar` onto scratch, and the certificates it is to trust.
ARG SDK=mcr.microsoft.com/dotnet/sdk:10.0
FROM ${SDK} AS build
WORKDIR /src
COPY . .
RUN ./build.sh setup && ./build.sh image

FROM scratch
COPY --from=build /src/artifacts/image/root/ /
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/sidecar"]
