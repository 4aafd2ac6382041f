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
        ClockReading(
            wallMilliseconds: milliseconds(CLOCK_REALTIME), boot: boot,
            elapsedMilliseconds: milliseconds(CLOCK_BOOTTIME))
    }

    private static func milliseconds(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        guard clock_gettime(clock, &time) == 0 else { return 0 }
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }
}
