import Foundation
import Glibc

/// A disk that can be full.
///
/// A small file system in memory where this process may mount one. Elsewhere the kernel's bound on
/// the size of files (RLIMIT_FSIZE) stands in, for programs started by ``wrapper(kibibytes:)``.
final class SmallDisk: Sendable {
    let path: String
    /// Whether it is a file system of its own.
    let isMounted: Bool

    init(in world: World, mebibytes: Int = 2) throws {
        path = world.folder + "/small"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
        isMounted = mount("tmpfs", path, "tmpfs", 0, "size=\(mebibytes)m") == 0
    }

    deinit { if isMounted { umount2(path, Int32(MNT_DETACH)) } }

    /// What a program that shall meet the full disk is started with.
    ///
    /// - Parameter kibibytes: Where no file system could be mounted, how large a file may become.
    func wrapper(kibibytes: Int = 1) -> [String] {
        // The shell counts in blocks of 512 bytes.
        let script = "trap '' XFSZ; ulimit -f \(kibibytes * 2); exec \"$@\""
        return isMounted ? [] : ["sh", "-c", script, "sh"]
    }

    private var filler: String { path + "/filler" }

    func fill() throws {
        guard isMounted else { return }
        let descriptor = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Surprise("no filler: errno \(errno)") }
        defer { close(descriptor) }
        let page = [UInt8](repeating: 1, count: 4_096)
        while Glibc.write(descriptor, page, page.count) > 0 {}
        guard errno == ENOSPC else { throw Surprise("the disk is not full: errno \(errno)") }
    }

    func free() { unlink(filler) }
}
