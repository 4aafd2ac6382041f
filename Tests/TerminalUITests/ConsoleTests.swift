import Glibc
import Testing

@testable import TerminalUI

/// A pipe whose ends are closed once.
private final class Pipe {
    private(set) var reader: Int32
    private(set) var writer: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        precondition(pipe(&ends) == 0)
        (reader, writer) = (ends[0], ends[1])
    }

    deinit {
        closeReader()
        closeWriter()
    }

    func closeReader() {
        if reader >= 0 { close(reader) }
        reader = -1
    }

    func closeWriter() {
        if writer >= 0 { close(writer) }
        writer = -1
    }

    /// Everything written so far; closes the writer, so that there is an end.
    func contents() -> String {
        closeWriter()
        return text(from: reader)
    }
}

/// A pseudoterminal: what a program sees as a terminal, and the side that the person sees.
private final class PseudoTerminal {
    let person: Int32
    let program: Int32

    // Swift's Glibc module shows neither posix_openpt(3) nor these two requests of ioctl_tty(2).
    private static let setLock: UInt = 0x4004_5431
    private static let getNumber: UInt = 0x8004_5430

    init(columns: UInt16) {
        person = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        var lock: Int32 = 0
        var number: UInt32 = 0
        precondition(
            person >= 0 && ioctl(person, Self.setLock, &lock) == 0
                && ioctl(person, Self.getNumber, &number) == 0)
        program = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
        precondition(program >= 0)
        var size = winsize(ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        precondition(ioctl(program, UInt(TIOCSWINSZ), &size) == 0)
    }

    deinit {
        close(person)
        close(program)
    }

    /// What the screen has been sent; at most 4096 bytes, all of one small write.
    func screen() -> String {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(person, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }

    func type(_ text: String) {
        precondition(write(person, text, text.utf8.count) == text.utf8.count)
    }
}

private func text(from descriptor: Int32) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = read(descriptor, &buffer, buffer.count), count > 0 {
        bytes += buffer.prefix(count)
    }
    return String(decoding: bytes, as: UTF8.self)
}

@Suite struct ConsoleTests {
    private let input = Pipe()
    private let output = Pipe()
    private let errors = Pipe()

    private func console(
        _ language: Language = .english, environment: [String: String] = [:]
    ) -> Console {
        Console(
            language: language, environment: environment, input: input.reader,
            output: output.writer, errors: errors.writer)
    }

    @Test func dataGoesToStandardOutput() {
        console().out("\("已记录", .green)")
        #expect(output.contents() == "已记录\n")
    }

    @Test func talkStaysOffStandardOutput() {
        let console = console()
        console.note("n")
        console.warn("w")
        console.fail("f")
        #expect(output.contents() == "")
    }

    @Test(
        arguments: [
            (Language.english, "warning: slow\nerror: full\nhint: make room\n"),
            (.chinese, "警告：slow\n错误：full\n提示：make room\n"),
        ])
    func talkIsMarkedInTheReadersLanguage(language: Language, expected: String) {
        let console = console(language)
        console.warn("slow")
        console.fail("full", hint: "make room")
        #expect(errors.contents() == expected)
    }

    @Test func closedPipeEndsNothing() {
        let console = console()
        output.closeReader()
        console.out("nobody reads")
        #expect(console.isOutputClosed)
    }

    @Test func closedPipeIsNoFault() {
        let console = console()
        output.closeReader()
        console.out("nobody reads")
        #expect(console.outputFault == nil)
    }

    @Test func fullDiskIsAFault() throws {
        let full = open("/dev/full", O_WRONLY)
        try #require(full >= 0)
        defer { close(full) }
        let console = Console(language: .english, environment: [:], output: full)
        console.out("lost")
        #expect(console.outputFault == "No space left on device")
    }

    @Test func tableInAPipeIsWhole() {
        let text = String(repeating: "灯", count: 100)
        var table = Table([Table.Column("a", columnsMax: 10, isFlexible: true)])
        table.append([Table.Cell(text, .red)])
        console(environment: ["COLUMNS": "20"]).out(table)
        #expect(output.contents() == "a\n\(text)\n")
    }

    @Test func valueIsOneLineOfJSON() {
        console().out(["id": "甲", "open": true] as JSONValue)
        #expect(output.contents() == "{\"id\":\"甲\",\"open\":true}\n")
    }

    @Test func answersAreReadLineByLine() throws {
        input.type("第一行\nsecond\r\nthird")
        let console = console()
        let answers = try (0..<4).map { _ in try console.ask("? ") }
        #expect(answers == ["第一行", "second", "third", nil])
    }

    @Test func answerThatIsNotUTF8IsRefusedAndTheNextOneRead() throws {
        let inGBK: [UInt8] = [0xD7, 0xD4, 0xC0, 0xB4]  // 自来
        input.type(bytes: inGBK + Array("\n自来水\n".utf8))
        let console = console()
        #expect(throws: Console.IllFormedAnswer.self) { try console.ask("? ") }
        #expect(try console.ask("? ") == "自来水")
    }

    @Test func promptIsNotShownWhereNobodyAnswers() throws {
        input.type("yes\n")
        _ = try console().ask("Sure? ")
        #expect(errors.contents() == "")
    }

    @Test func emptyAnswerIsNotTheEnd() throws {
        input.type("\n")
        #expect(try console().ask("? ") == "")
    }

    @Test(arguments: [("120", 120), ("0", 80), ("-3", 80), ("wide", 80), ("99999999999999999", 80)])
    func widthWithoutTerminalComesFromTheEnvironment(columns: String, expected: Int) {
        #expect(console(environment: ["COLUMNS": columns]).width == expected)
    }

    @Test func pipesAreNoTerminals() {
        let console = console()
        #expect(!console.isInputTerminal && !console.isOutputTerminal && !console.isErrorTerminal)
    }

    @Test func environmentHoldsItsVariables() throws {
        let path = try #require(getenv("PATH"))
        #expect(processEnvironment()["PATH"] == String(cString: path))
    }
}

@Suite struct ConsoleOnTerminalTests {
    private let terminal = PseudoTerminal(columns: 50)

    private func console(environment: [String: String] = ["TERM": "xterm"]) -> Console {
        Console(
            language: .english, environment: environment, input: terminal.program,
            output: terminal.program, errors: terminal.program)
    }

    @Test func terminalIsRecognised() {
        let console = console()
        #expect(console.isInputTerminal && console.isOutputTerminal && console.isErrorTerminal)
    }

    @Test func widthIsThatOfTheWindow() {
        #expect(console(environment: ["COLUMNS": "120"]).width == 50)
    }

    @Test func styleIsShown() {
        console().out("\("ok", .green)")
        #expect(terminal.screen() == "\u{1B}[32mok\u{1B}[0m\r\n")
    }

    @Test func styleIsLeftOutOnRequest() {
        console(environment: ["NO_COLOR": "1"]).out("\("ok", .green)")
        #expect(terminal.screen() == "ok\r\n")
    }

    @Test func tableIsFitted() {
        var table = Table([Table.Column("a", isFlexible: true)])
        table.append([Table.Cell(String(repeating: "灯", count: 100))])
        console(environment: ["NO_COLOR": "1"]).out(table)
        let lines = terminal.screen().split(separator: "\r\n")
        #expect(lines.map { displayWidth(of: String($0)) } == [1, 49])
    }

    @Test func promptIsShown() throws {
        terminal.type("y\n")
        _ = terminal.screen()  // The terminal's own echo.
        _ = try console(environment: ["NO_COLOR": "1"]).ask("Sure? ")
        #expect(terminal.screen() == "Sure? ")
    }

    @Test func progressIsHiddenOnADumbTerminal() {
        let console = console(environment: ["TERM": "dumb"])
        let clock = ManualClock()
        let line = console.progress(clock: clock.read)
        clock.advance(by: 1000)
        line.update("progress")
        console.out("end")
        #expect(terminal.screen() == "end\r\n")
    }

    @Test func progressIsShownOnStandardError() {
        let clock = ManualClock()
        let line = console().progress(clock: clock.read)
        clock.advance(by: 1000)
        line.update("progress")
        #expect(terminal.screen() == "\r\u{1B}[Kprogress")
    }
}

extension Pipe {
    fileprivate func type(_ text: String) { type(bytes: Array(text.utf8)) }

    fileprivate func type(bytes: [UInt8]) {
        precondition(write(writer, bytes, bytes.count) == bytes.count)
        closeWriter()
    }
}
