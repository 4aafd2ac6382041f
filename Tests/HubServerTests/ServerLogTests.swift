import Dispatch
import Glibc
import Logging
import Testing

@testable import HubServer

@Suite struct ServerLogTests {
    /// What a log writes into a pipe.
    private final class Reader {
        private var ends: [Int32] = [0, 0]
        var writingEnd: Int32 { ends[1] }

        init() {
            pipe(&ends)
            _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        }

        deinit { for end in ends { close(end) } }

        /// What was written since, without waiting for more.
        func text() -> String {
            var bytes = [UInt8](repeating: 0, count: 1 << 16)
            let count = read(ends[0], &bytes, bytes.count)
            return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        }

        /// All that was written up to a line with these words; gives up after a minute.
        func lines(through words: String) -> [String] {
            var received = ""
            var end = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
            while !(received.contains(words) && received.hasSuffix("\n")) {
                guard poll(&end, 1, 60_000) > 0 else { break }
                received += text()
            }
            return received.split(separator: "\n").map(String.init)
        }
    }

    @Test func requestsWaitAndTroubleTakesThemAlong() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd, waitsMilliseconds: 3_600_000)
        let logger = log.logger(.info)
        logger.info("first")
        logger.info("second")
        #expect(reader.text().isEmpty)
        logger.warning("trouble", metadata: ["b": "2", "a": "1"])
        let lines = reader.lines(through: "trouble")
        #expect(
            lines.map { $0.split(separator: " ").dropFirst().joined(separator: " ") } == [
                "info first", "info second", "warning trouble a=1 b=2",
            ])
        let time = #/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ /#
        #expect(lines.allSatisfy { $0.firstMatch(of: time) != nil })
    }

    @Test func requestsAreWrittenAfterAWhile() {
        let reader = Reader()
        ServerLog(file: reader.writingEnd, waitsMilliseconds: 1).logger(.info).info("request")
        #expect(reader.lines(through: "request").count == 1)
    }

    @Test func flushWritesWhatWaits() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd, waitsMilliseconds: 3_600_000)
        log.logger(.info).info("last request")
        log.flush()
        #expect(reader.text().hasSuffix(" info last request\n"))
        log.flush()
        #expect(reader.text().isEmpty)
        log.say("last words")
        #expect(reader.text() == "last words\n")
    }

    /// Nobody waits for it; it hears later how much it missed.
    @Test func readerThatStopsHoldsUpNobody() {
        let reader = Reader()
        let log = ServerLog(
            file: reader.writingEnd, waitsMilliseconds: 1, lastWaitMilliseconds: 1)
        let count = 3 * HubLimits.logBytesMax / 1_000
        let done = DispatchSemaphore(value: 0)
        spawnThread {
            let logger = log.logger(.info)
            for number in 0..<count {
                let line = "\(number) " + String(repeating: "x", count: 1_000)
                if number % 2 == 0 { logger.info("\(line)") } else { logger.warning("\(line)") }
            }
            log.say("last words")
            done.signal()
        }
        #expect(done.wait(timeout: .now() + .seconds(60)) == .success)
        let lines = reader.lines(through: "dropped")
        let dropped = lines.last?.firstMatch(of: #/lines dropped lines=(\d+)$/#).flatMap {
            Int($0.1)
        }
        #expect(lines.contains("last words"))
        // Besides those that were kept: the last words and this line.
        #expect(dropped.map { lines.count - 2 + $0 } == count)
        log.logger(.info).info("afterwards")
        #expect(reader.lines(through: "afterwards").count == 1)
    }

    /// Nobody can forge a line.
    @Test func lineBreaksAreNoLines() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd)
        log.logger(.info).error("one\ntwo", metadata: ["x": "3\r\n4"])
        #expect(reader.lines(through: "error").last?.hasSuffix(" error one two x=3  4") == true)
    }

    @Test func lessThanTheLevelIsNotLogged() {
        let reader = Reader()
        let log = ServerLog(file: reader.writingEnd)
        log.logger(.warning).info("chatter")
        log.flush()
        #expect(reader.text().isEmpty)
    }
}
