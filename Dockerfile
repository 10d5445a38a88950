# The same root file system that `./build.sh image` packs without an engine, for those who build with one.
ARG SDK=mcr.microsoft.com/dotnet/sdk:10.0
FROM ${SDK} AS build
WORKDIR /src
COPY . .
RUN ./build.sh setup && ./build.sh image

FROM scratch
COPY --from=build /src/artifacts/image/root/ /
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/sidecar"]
