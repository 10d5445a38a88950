#!/usr/bin/env pwsh
# The verbs of build.sh for PowerShell. On Linux they are the same steps; on Windows the product is only managed code to
# check: it compiles, and the tests that need no Linux run.
param([string] $Verb = 'help', [Parameter(ValueFromRemainingArguments)] [string[]] $Rest = @())

$ErrorActionPreference = 'Stop'
Set-StrictMode -Version Latest
Set-Location $PSScriptRoot

# PowerShell 5 knows no $IsLinux, and is only found on Windows.
$onLinux = (Test-Path variable:IsLinux) -and $IsLinux
if ($onLinux) {
    & bash ./build.sh $Verb @Rest
    exit $LASTEXITCODE
}

$env:DOTNET_CLI_TELEMETRY_OPTOUT = '1'
$env:DOTNET_NOLOGO = '1'

function Invoke-Step([string[]] $Arguments) {
    & dotnet @Arguments
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

function Stop-NeedsLinux([string] $What, [string] $Why) {
    [Console]::Error.WriteLine("build.ps1: $What needs Linux: $Why Run ./build.sh $Verb on Linux, in WSL or in a container.")
    exit 1
}

switch ($Verb) {
    'setup' {
        if (-not (Get-Command dotnet -ErrorAction SilentlyContinue)) {
            [Console]::Error.WriteLine('build.ps1: install the .NET 10 SDK (global.json names the version).')
            exit 1
        }
        Write-Output 'setup: the .NET SDK is here, and building and the platform-neutral tests need nothing else.'
    }
    'build' { Invoke-Step @('build', 'Sidecar.slnx', '-v', 'quiet', '-nologo') }
    'test' {
        Invoke-Step @('build', 'Sidecar.slnx', '-v', 'quiet', '-nologo')
        Write-Output 'test: the platform-neutral tests only; those marked Category=Linux (sockets, capture, the published executable) need Linux.'
        Invoke-Step @('test', 'Sidecar.Tests/Sidecar.Tests.csproj', '--no-build', '-nologo', '--filter', 'Category!=Linux')
    }
    'clean' {
        Remove-Item -Recurse -Force -ErrorAction SilentlyContinue artifacts
        Get-ChildItem -Recurse -Directory -Include bin, obj, TestResults | Remove-Item -Recurse -Force
    }
    'publish' { Stop-NeedsLinux 'publish' 'the executable is a Linux ELF file, and Native AOT links it with a Linux tool chain.' }
    'demo'    { Stop-NeedsLinux 'demo' 'it uses network namespaces and iptables.' }
    'image'   { Stop-NeedsLinux 'image' 'it packs the Linux executable and the libraries it loads.' }
    'bench'   { Stop-NeedsLinux 'bench' 'it measures the Linux executable.' }
    'help'    { Write-Output 'usage: ./build.ps1 setup|build|publish|test|demo|image|bench|clean   (see build.sh help)' }
    default   { [Console]::Error.WriteLine("build.ps1: no verb '$Verb'"); exit 1 }
}
