import Synchronization
import Testing

@testable import TerminalUI

/// A clock that stands still until it is told otherwise.
final class ManualClock: Sendable {
    private let milliseconds = Mutex<Int64>(5000)

    func advance(by interval: Int64) {
        milliseconds.withLock { $0 += interval }
    }

    @Sendable func read() -> Int64 {
        milliseconds.withLock { $0 }
    }
}

private final class Screen: Sendable {
    private let texts = Mutex<[String]>([])

    @Sendable func write(_ text: String) {
        texts.withLock { $0.append(text) }
    }

    var writes: [String] { texts.withLock { $0 } }
}

@Suite struct ProgressLineTests {
    private let clock = ManualClock()
    private let screen = Screen()
    private let erase = "\r\u{1B}[K"

    private func line(isShown: Bool = true, width: Int = 80) -> ProgressLine {
        ProgressLine(isShown: isShown, clock: clock.read, width: { width }, write: screen.write)
    }

    @Test func nothingIsShownBefore250Milliseconds() {
        let line = line()
        line.update("0")
        clock.advance(by: 249)
        line.update("1")
        #expect(screen.writes == [])
    }

    @Test func lineIsShownFrom250Milliseconds() {
        let line = line()
        clock.advance(by: 250)
        line.update("12 / 40")
        #expect(screen.writes == [erase + "12 / 40"])
    }

    @Test func lineIsRewrittenAtMostTenTimesASecond() {
        let line = line()
        clock.advance(by: 1000)
        for step in 0..<1000 {
            line.update("\(step)")
            clock.advance(by: 1)
        }
        #expect(screen.writes == (0..<10).map { "\(erase)\($0 * 100)" })
    }

    @Test func lineIsClearedAtTheEnd() {
        let line = line()
        clock.advance(by: 250)
        line.update("a")
        line.finish()
        #expect(screen.writes.last == erase)
    }

    @Test func nothingIsClearedWhenNothingWasShown() {
        let line = line()
        line.update("a")
        line.finish()
        #expect(screen.writes == [])
    }

    @Test func lineIsClearedOnce() {
        let line = line()
        clock.advance(by: 250)
        line.update("a")
        line.finish()
        line.finish()
        #expect(screen.writes.count == 2)
    }

    @Test func nothingIsShownAfterTheEnd() {
        let line = line()
        line.finish()
        clock.advance(by: 1000)
        line.update("late")
        #expect(screen.writes == [])
    }

    @Test func nothingIsShownWithoutATerminal() {
        let line = line(isShown: false)
        clock.advance(by: 1000)
        line.update("a")
        line.finish()
        #expect(screen.writes == [])
    }

    @Test func lineLeavesTheLastColumnFree() {
        let line = line(width: 6)
        clock.advance(by: 1000)
        line.update("正在同步")
        #expect(screen.writes == [erase + "正在…"])
    }

    @Test func lineCannotDriveTheTerminal() {
        let line = line()
        clock.advance(by: 1000)
        line.update("a\n\u{1B}[2J")
        #expect(screen.writes == [erase + "a \u{FFFD}[2J"])
    }
}
