import Glibc
import HubLedger
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// The server's log: one line an event, written together.
///
/// A line is the time (UTC), the level and the message, then the details in the order of their
/// names: `2026-11-22T07:54:07Z info sync device=1 status=200 in=97 out=63 ms=0`. Requests are
/// logged at info, and to write each line by itself would be a tenth of what an empty sync costs;
/// so they wait up to ``HubLimits/logMillisecondsMax``. Whatever is worse than info is written at
/// once, with all that waits.
final class ServerLog: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var isScheduled = false
        /// The text of the newest line's second, which most lines share.
        var second: Int64 = -1
        var time = ""
    }

    private let file: Int32
    private let waitsMilliseconds: Int64
    private let state = Mutex(State())
    /// Held while bytes are written, so that they keep their order.
    private let writing = Mutex(())

    init(
        file: Int32 = STDERR_FILENO, waitsMilliseconds: Int64 = HubLimits.logMillisecondsMax
    ) {
        self.file = file
        self.waitsMilliseconds = waitsMilliseconds
    }

    /// - Parameter level: The least that is logged.
    func logger(_ level: Logger.Level) -> Logger {
        var logger = Logger(label: "waystation") { _ in Handler(log: self) }
        logger.logLevel = level
        return logger
    }

    /// Writes what waits.
    func flush() {
        writing.withLock { _ in
            let bytes = state.withLock { state in
                defer { state.bytes.removeAll(keepingCapacity: true) }
                state.isScheduled = false
                return state.bytes
            }
            bytes.withUnsafeBytes { bytes in
                var rest = bytes[...]
                while !rest.isEmpty {
                    let part = UnsafeRawBufferPointer(rebasing: rest)
                    let written = write(file, part.baseAddress, part.count)
                    if written < 0, errno == EINTR { continue }
                    // Nobody reads the log any more; requests go on without.
                    guard written > 0 else { return }
                    rest = rest.dropFirst(written)
                }
            }
        }
    }

    private func add(_ level: Logger.Level, _ text: String) {
        let milliseconds = wallMilliseconds()
        let (mustSchedule, mustFlush) = state.withLock { state -> (Bool, Bool) in
            if milliseconds / 1000 != state.second {
                state.second = milliseconds / 1000
                state.time = utcText(milliseconds)
            }
            state.bytes += state.time.utf8
            state.bytes.append(UInt8(ascii: " "))
            state.bytes += level.rawValue.utf8
            state.bytes.append(UInt8(ascii: " "))
            // A line is a line, whatever a library puts in it.
            for byte in text.utf8 {
                state.bytes.append(byte < 0x20 ? UInt8(ascii: " ") : byte)
            }
            state.bytes.append(UInt8(ascii: "\n"))
            let mustFlush = level > .info || state.bytes.count >= HubLimits.logBytesMax
            let mustSchedule = !mustFlush && !state.isScheduled
            if mustSchedule { state.isScheduled = true }
            return (mustSchedule, mustFlush)
        }
        if mustFlush {
            flush()
        } else if mustSchedule {
            MultiThreadedEventLoopGroup.singleton.any().scheduleTask(
                in: .milliseconds(waitsMilliseconds)
            ) { self.flush() }
        }
    }

    private struct Handler: LogHandler {
        let log: ServerLog
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            var text = event.message.description
            let details = metadata.merging(event.metadata ?? [:]) { $1 }
            for (name, value) in details.sorted(by: { $0.key < $1.key }) {
                text += " \(name)=\(value)"
            }
            if let error = event.error { text += " error=\(error)" }
            log.add(event.level, text)
        }
    }
}
