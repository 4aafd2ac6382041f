// Built as a whole module, Swift finds `timespec` through libcurl's headers first.
import CCurl
import Glibc
package import SyncCore

/// This machine's two clocks.
package enum SystemClocks {
    /// The first 8 bytes of Linux's random boot id; 0, "unnamed", where there is none.
    private static let boot: UInt64 = {
        let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = read(descriptor, &bytes, bytes.count)
        let digits = bytes.prefix(max(0, count)).filter { $0 != UInt8(ascii: "-") }.prefix(16)
        guard digits.count == 16 else { return 0 }
        return UInt64(String(decoding: digits, as: UTF8.self), radix: 16) ?? 0
    }()

    package static func now() -> ClockReading {
        reading(wall: time(CLOCK_REALTIME), elapsed: time(CLOCK_BOOTTIME))
    }

    /// Both clocks in milliseconds that pass at the same moments: so how far they are apart is the
    /// same in all readings while nobody sets a clock, and a batch tells it once.
    static func reading(wall: timespec, elapsed: timespec) -> ClockReading {
        let nanoseconds = 1_000_000
        func milliseconds(_ time: timespec) -> Int64 {
            Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec / nanoseconds)
        }
        let isPhaseBehind = wall.tv_nsec % nanoseconds < elapsed.tv_nsec % nanoseconds
        return ClockReading(
            wallMilliseconds: milliseconds(wall) - (isPhaseBehind ? 1 : 0), boot: boot,
            elapsedMilliseconds: milliseconds(elapsed))
    }

    private static func time(_ clock: clockid_t) -> timespec {
        var time = timespec()
        guard clock_gettime(clock, &time) == 0 else { return timespec() }
        return time
    }
}
