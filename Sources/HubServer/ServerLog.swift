import Dispatch
import Glibc
import HubLedger
import Logging
import Synchronization

/// The server's log: one line an event, written together.
///
/// A line is the time (UTC), the level and the message, then the details in the order of their
/// names: `2026-11-22T07:54:07Z info sync device=1 status=200 in=97 out=63 ms=0`. Requests are
/// logged at info, and to write each line by itself would be a tenth of what an empty sync costs;
/// so they wait up to ``HubLimits/logMillisecondsMax``. Whatever is worse than info is written at
/// once, with all that waits.
///
/// Nobody waits for whoever reads the log: a reader that has stopped (`| less`, Ctrl-S, a collector
/// that hangs) holds up one thread that does nothing else. Lines that find no room meanwhile are
/// dropped, and counted in a line of their own once the reader goes on.
final class ServerLog: Sendable {
    /// When the lines that wait are to be written.
    private enum Turn {
        case none, later, atOnce
    }

    private struct State {
        var bytes: [UInt8] = []
        var linesDropped = 0
        var turn = Turn.none
        /// The text of the newest line's second, which most lines share.
        var second: Int64 = -1
        var time = ""

        mutating func append(_ level: Logger.Level, _ text: String, _ milliseconds: Int64) {
            if milliseconds / 1000 != second {
                second = milliseconds / 1000
                time = utcText(milliseconds)
            }
            bytes += time.utf8
            bytes.append(UInt8(ascii: " "))
            bytes += level.rawValue.utf8
            bytes.append(UInt8(ascii: " "))
            // A line is a line, whatever a library puts in it.
            for byte in text.utf8 { bytes.append(byte < 0x20 ? UInt8(ascii: " ") : byte) }
            bytes.append(UInt8(ascii: "\n"))
        }
    }

    private let file: Int32
    private let waitsMilliseconds: Int64
    private let lastWaitMilliseconds: Int
    private let state = Mutex(State())
    /// Writes, one part after the other, so that lines keep their order.
    private let writer = DispatchQueue(label: "waystation.log")

    init(
        file: Int32 = STDERR_FILENO, waitsMilliseconds: Int64 = HubLimits.logMillisecondsMax,
        lastWaitMilliseconds: Int = HubLimits.logLastMillisecondsMax
    ) {
        self.file = file
        self.waitsMilliseconds = waitsMilliseconds
        self.lastWaitMilliseconds = lastWaitMilliseconds
    }

    /// - Parameter level: The least that is logged.
    func logger(_ level: Logger.Level) -> Logger {
        var logger = Logger(label: "waystation") { _ in Handler(log: self) }
        logger.logLevel = level
        return logger
    }

    /// Writes what waits, and returns when that is done, or after
    /// ``HubLimits/logLastMillisecondsMax`` if nobody reads.
    func flush() {
        let written = DispatchSemaphore(value: 0)
        writer.async {
            self.writeWaiting()
            written.signal()
        }
        _ = written.wait(timeout: .now() + .milliseconds(lastWaitMilliseconds))
    }

    /// Adds a line as it is, without time and level, and flushes.
    func say(_ line: String) {
        state.withLock { $0.bytes += Array("\(line)\n".utf8) }
        flush()
    }

    private func add(_ level: Logger.Level, _ text: String) {
        let milliseconds = wallMilliseconds()
        let turn = state.withLock { state -> Turn in
            // What is dropped needs no turn: a part is being written, or has its turn already.
            guard state.bytes.count < HubLimits.logBytesMax else {
                state.linesDropped += 1
                return .none
            }
            state.append(level, text, milliseconds)
            let wanted: Turn =
                level > .info || state.bytes.count >= HubLimits.logBytesAtOnce ? .atOnce : .later
            guard state.turn == .none || (state.turn, wanted) == (.later, .atOnce) else {
                return .none
            }
            state.turn = wanted
            return wanted
        }
        switch turn {
        case .none: break
        case .atOnce: writer.async { self.writeWaiting() }
        case .later:
            writer.asyncAfter(deadline: .now() + .milliseconds(Int(waitsMilliseconds))) {
                self.writeWaiting()
            }
        }
    }

    /// On the writer's thread, which blocks as long as nobody reads.
    private func writeWaiting() {
        let milliseconds = wallMilliseconds()
        let bytes = state.withLock { state in
            if state.linesDropped > 0 {
                state.append(
                    .warning, "the log was not read; lines dropped lines=\(state.linesDropped)",
                    milliseconds)
                state.linesDropped = 0
            }
            defer { state.bytes = [] }
            state.turn = .none
            return state.bytes
        }
        bytes.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let part = UnsafeRawBufferPointer(rebasing: rest)
                let written = write(file, part.baseAddress, part.count)
                if written < 0, errno == EINTR { continue }
                if written < 0, errno == EAGAIN {
                    // Whoever shares it has made it so: wait for room.
                    var wanted = pollfd(fd: file, events: Int16(POLLOUT), revents: 0)
                    _ = poll(&wanted, 1, -1)
                    continue
                }
                // Nobody will read the log any more; requests go on without.
                guard written > 0 else { return }
                rest = rest.dropFirst(written)
            }
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
