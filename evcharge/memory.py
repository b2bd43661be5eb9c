"""With these options and variables a server at rest takes what it uses, and no longer what it once took."""

from __future__ import annotations

#: Milliseconds. Nothing to do costs some ten ms of processor time.
_EVERY_MS = 300_000

#: By default Java (17.0.15) maps an archive of classes at a random address, and then changes and so copies all of its pages. At
#: the address for which it was made only those are read that are used, and processes share them: of Spark Connect 370 MB are
#: then its own instead of 500.
SHARES_CLASSES = ("-XX:+UnlockDiagnosticVMOptions", "-XX:ArchiveRelocationMode=0")
#: The heap follows what is in use: by default up to 70 % of it may be free. What C code has freed goes back to the system.
#: Java 17 knows the trimming since 17.0.9 (JDK-8293114).
_GIVES_BACK = (
    "-Xms64m",
    "-XX:+IgnoreUnrecognizedVMOptions",
    # less than this, and a large job collects again and again until the heap has grown
    "-XX:MinHeapFreeRatio=20",
    "-XX:MaxHeapFreeRatio=40",
    f"-XX:TrimNativeHeapInterval={_EVERY_MS}",
    *SHARES_CLASSES,
)
#: G1 collects by itself only when the heap fills up, which takes hours at rest (JEP 346).
G1_GIVES_BACK = ("-XX:+UseG1GC", f"-XX:G1PeriodicGCInterval={_EVERY_MS}", *_GIVES_BACK)
#: So does the serial collector, which Spark calls: its setting `spark.cleaner.periodicGC.interval` is SPARK_COLLECTS_EVERY.
SERIAL_GIVES_BACK = ("-XX:+UseSerialGC", "-XX:-ShrinkHeapInSteps", *_GIVES_BACK)
SPARK_COLLECTS_EVERY = f"{_EVERY_MS // 1000}s"
#: For the environment of every server. The C library makes up to eight arenas for each core, and what is freed in one is not
#: used in another. Arrow has an allocator of its own, which keeps what is freed. Go lets a heap double before it collects; here
#: it grows by half.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system", "GOGC": "50"}
