namespace Sidecar;

/// <summary>The sub-command switch of the one executable.</summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        System.Console.Error.WriteLine("sidecar: no command");
        return args.Length;
    }
}
