@preconcurrency import Glibc
import Synchronization

/// The three streams of a program: data goes to standard output, talk to standard error.
///
/// Text is written as UTF-8 whatever the locale says. A reader that goes away (`| head -1`) ends
/// no program: SIGPIPE is ignored, and the first failure of standard output is kept in
/// ``outputFault`` for the exit code.
package final class Console: Sendable {
    /// The language of the words that the console adds itself.
    package let language: Language
    package let isInputTerminal: Bool
    package let isOutputTerminal: Bool
    package let isErrorTerminal: Bool

    private let input: Int32
    private let output: Int32
    private let errors: Int32
    private let outputPalette: Palette
    private let errorPalette: Palette
    private let isErrorDumb: Bool
    private let columnsOfEnvironment: Int?
    private let firstOutputErrno = Atomic<Int32>(0)

    /// What one answer may hold; the rest of a longer line is read and dropped.
    private static let answerBytesMax = 65_536
    private static let columnsMax = 10_000
    private static let columnsDefault = 80

    /// Looks at the streams once; only ``width`` is asked anew, since windows change.
    ///
    /// - Parameters:
    ///   - environment: `NO_COLOR`, `TERM` and `COLUMNS` count; see ``processEnvironment()``.
    ///   - input: A file descriptor that the console reads but does not close; so the others.
    package init(
        language: Language, environment: [String: String],
        input: Int32 = 0, output: Int32 = 1, errors: Int32 = 2
    ) {
        self.language = language
        self.input = input
        self.output = output
        self.errors = errors
        isInputTerminal = isatty(input) == 1
        isOutputTerminal = isatty(output) == 1
        isErrorTerminal = isatty(errors) == 1
        outputPalette = Palette(isTerminal: isOutputTerminal, environment: environment)
        errorPalette = Palette(isTerminal: isErrorTerminal, environment: environment)
        isErrorDumb = environment["TERM"] == "dumb"
        columnsOfEnvironment = environment["COLUMNS"].flatMap { Int($0) }
            .flatMap { (1...Self.columnsMax).contains($0) ? $0 : nil }
        signal(SIGPIPE, SIG_IGN)
    }

    /// The terminal's columns now: as standard output or else standard error reports them, else
    /// `COLUMNS`, else 80.
    package var width: Int {
        for stream in [output, errors] {
            var size = winsize()
            if ioctl(stream, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 {
                return Int(size.ws_col)
            }
        }
        return columnsOfEnvironment ?? Self.columnsDefault
    }

    /// Why writing to standard output first failed, in the system's words; `nil` while all is
    /// well and also when the reader has merely closed the pipe.
    package var outputFault: String? {
        let code = firstOutputErrno.load(ordering: .relaxed)
        guard code != 0, code != EPIPE else { return nil }
        var words = [CChar](repeating: 0, count: 256)
        guard strerror_r(code, &words, words.count) == 0 else { return "errno \(code)" }
        return String(
            decoding: words.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// Whether the reader of standard output has gone: no need to produce more.
    package var isOutputClosed: Bool { firstOutputErrno.load(ordering: .relaxed) == EPIPE }

    // MARK: Data

    /// Writes a line of data.
    package func out(_ line: StyledText) {
        write(line.rendered(with: outputPalette) + "\n")
    }

    /// Writes a table, fitted to the terminal if there is one, whole if not.
    package func out(_ table: Table) {
        let lines = table.lines(width: isOutputTerminal ? width : nil)
        write(lines.map { $0.rendered(with: outputPalette) + "\n" }.joined())
    }

    /// Writes a value as compact or indented JSON, and a line feed.
    package func out(_ value: JSONValue, isPretty: Bool = false) {
        write((isPretty ? value.pretty : value.compact) + "\n")
    }

    /// Writes exactly this text to standard output: for formats that do their own escaping.
    package func write(_ text: String) {
        guard firstOutputErrno.load(ordering: .relaxed) == 0 else { return }
        let code = writeAll(text, to: output)
        if code != 0 {
            _ = firstOutputErrno.compareExchange(
                expected: 0, desired: code, ordering: .relaxed)
        }
    }

    // MARK: Talk

    /// Says something on standard error. What cannot be said is dropped: there is nowhere else.
    package func note(_ line: StyledText) {
        writeToErrors(line.rendered(with: errorPalette) + "\n")
    }

    /// Says that something deserves attention, and what to do.
    package func warn(_ message: StyledText, hint: StyledText? = nil) {
        note("\(Phrase("warning: ", "警告："), language, [.bold, .yellow])\(message)")
        give(hint)
    }

    /// Says that the command failed, and what to do. Ending the program is the caller's part.
    package func fail(_ message: StyledText, hint: StyledText? = nil) {
        note("\(Phrase("error: ", "错误："), language, [.bold, .red])\(message)")
        give(hint)
    }

    private func give(_ hint: StyledText?) {
        guard let hint else { return }
        note("\(Phrase("hint: ", "提示："), language, .dim)\(hint)")
    }

    /// Makes a progress line on standard error, which stays silent where that is no terminal.
    ///
    /// - Parameter clock: Milliseconds of a clock that never steps back.
    package func progress(
        clock: @escaping @Sendable () -> Int64 = monotonicMilliseconds
    ) -> ProgressLine {
        ProgressLine(
            isShown: isErrorTerminal && !isErrorDumb, clock: clock, width: { self.width },
            write: { self.writeToErrors($0) })
    }

    // MARK: Questions

    /// Reads one line from standard input, showing the prompt on standard error if a person can
    /// answer it.
    ///
    /// Waits for as long as it takes; ask ``isInputTerminal`` first where that would be wrong.
    ///
    /// - Returns: The line as typed, without its line break, at most 65 536 bytes; `nil` at the end
    ///   of input.
    /// - Throws: ``IllFormedAnswer``, for what cannot be told cannot be stored; the line is read.
    package func ask(_ prompt: StyledText) throws(IllFormedAnswer) -> String? {
        if isInputTerminal { writeToErrors(prompt.rendered(with: errorPalette)) }
        var line: [UInt8] = []
        var byte: UInt8 = 0
        // Byte by byte, so that nothing behind the line break is taken from the next reader.
        while true {
            let count = read(input, &byte, 1)
            if count < 0 && errno == EINTR { continue }
            guard count == 1 else {
                if line.isEmpty { return nil }
                break
            }
            if byte == UInt8(ascii: "\n") { break }
            if line.count < Self.answerBytesMax { line.append(byte) }
        }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        guard let text = String(validating: line, as: UTF8.self) else { throw IllFormedAnswer() }
        return text
    }

    /// What was typed is not UTF-8.
    package struct IllFormedAnswer: Error {}

    // MARK: Writing

    private func writeToErrors(_ text: String) {
        _ = writeAll(text, to: errors)
    }

    /// Writes all bytes, however many calls that takes.
    ///
    /// - Returns: 0, or the `errno` of the call that failed.
    private func writeAll(_ text: String, to stream: Int32) -> Int32 {
        var text = text
        return text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while let start = rest.baseAddress, !rest.isEmpty {
                let count = Glibc.write(stream, start, rest.count)
                if count >= 0 {
                    rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                } else if errno == EAGAIN {
                    // Another program left the shared terminal non-blocking: wait for room.
                    var wanted = pollfd(fd: stream, events: Int16(POLLOUT), revents: 0)
                    _ = poll(&wanted, 1, -1)
                } else if errno != EINTR {
                    return errno
                }
            }
            return 0
        }
    }
}

/// Returns this process's environment; of a variable that occurs twice, the first value.
package func processEnvironment() -> [String: String] {
    var result: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
        // By bytes: looking for characters costs a command from the shell a fiftieth of its time.
        if let sign = strchr(text, Int32(UInt8(ascii: "="))) {
            let name = UnsafeRawBufferPointer(start: text, count: sign - text)
            let key = String(decoding: name, as: UTF8.self)
            if result[key] == nil { result[key] = String(cString: sign + 1) }
        }
        entry += 1
    }
    return result
}

/// Milliseconds since some point in the past; never steps back.
package func monotonicMilliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}
