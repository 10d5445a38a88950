using System;
using System.Diagnostics;

namespace Sidecar.Micro;

/// <summary>Prints nanoseconds and bytes per operation of each bench whose name contains one of the arguments; of all without one.</summary>
internal static class Program
{
    private const int Samples = 9;
    private const double SampleNsMin = 20e6;

    private static int Main(string[] args)
    {
        Console.WriteLine($"{"bench",-34} {"ns/op",10} {"spread",22} {"bytes/op",9}");
        foreach (var bench in Benches.All)
        {
            if (args.Length > 0 && !Array.Exists(args, part => bench.Name.Contains(part, StringComparison.Ordinal)))
                continue;
            var run = bench.Make();
            double bytes = Benches.AllocatedPerOperation(run);      // which also warms it up
            int perSample = Calibrate(run);
            var times = new double[Samples];
            for (int i = 0; i < Samples; i++)
                times[i] = Time(run, perSample) / perSample;
            Array.Sort(times);
            Console.WriteLine($"{bench.Name,-34} {times[Samples / 2],10:F1} {$"{times[0]:F1}..{times[^1]:F1}",22} {bytes,9:F2}");
        }
        return 0;
    }

    private static int Calibrate(Action run)
    {
        int count = 1;
        while (count < 1 << 26 && Time(run, count) < SampleNsMin)
            count *= 2;
        return count;
    }

    /// <summary>Nanoseconds that <paramref name="count"/> calls take.</summary>
    private static double Time(Action run, int count)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < count; i++)
            run();
        return Stopwatch.GetElapsedTime(start).TotalNanoseconds;
    }
}
