import DeviceJournal
import Foundation
import Glibc
import NeedModel
import SyncCore
import Synchronization
import Testing
import WireFormat

@testable import DeviceSync

/// The shell over a real journal and real libcurl; the hub says what each test wants it to.
@Suite struct SyncClientTests {
    /// A journal in its own directory, enrolled at a hub.
    private final class Device {
        let directory: String
        let journal: Journal
        /// Milliseconds that the client wanted to wait.
        var pauses: [Int] = []

        init() throws {
            directory = NSTemporaryDirectory() + "sync-" + UUID().uuidString
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true)
            journal = try Journal(path: directory + "/journal.sqlite", creating: true)
        }

        deinit { try? FileManager.default.removeItem(atPath: directory) }

        func enroll(_ url: String, code: String = "ABCD-1234") throws -> SyncReport {
            let code = try InviteCode(code)
            let client = try SyncClient(
                enrolling: url, code: code, journal: journal,
                pause: { [unowned self] wait, _ in
                    pauses.append(wait)
                }, lockTimeoutMilliseconds: 0)
            return try client.enroll(code)
        }

        /// Enrolled without a network.
        func belong(to url: String, token: String = "token-1") throws {
            try journal.enroll(
                server: url, token: token, pin: nil, authority: nil,
                answer: EnrollAnswer(token: token, assignment: ScriptedHub.assignment))
        }

        func client() throws -> SyncClient {
            try SyncClient(
                journal: journal,
                pause: { [unowned self] wait, _ in pauses.append(wait) },
                lockTimeoutMilliseconds: 0)
        }

        @discardableResult
        func add(_ text: String = "缺路灯") throws -> RecordID {
            try journal.addNeed(
                [FieldEdit(.text, .text(text)), FieldEdit(.grid, .text("G1"))],
                clocks: SystemClocks.now()
            ).id
        }
    }

    // MARK: Enrolment

    @Test func enrolmentStoresTheTokenAndPulls() throws {
        let device = try Device()
        let hub = try ScriptedHub(ScriptedHub.honest)
        let report = try device.enroll(hub.url + "/")
        #expect(report.result == .complete)
        #expect(report.failure == nil)
        #expect(report.roundTrips == 2)
        #expect(report.connections == 1)
        #expect(try device.journal.hubAccess().server == hub.url)
        #expect(try device.journal.hubAccess().token == "token-1")
        #expect(try device.journal.identity()?.name == "网格员一")
        #expect(hub.calls.map(\.path) == ["/v1/enroll", "/v1/sync"])
        #expect(hub.calls.map(\.authorization) == [nil, "Bearer token-1"])
        #expect(try device.journal.status().lastSyncMilliseconds == 1_800_000_000_000)
    }

    @Test(arguments: [400, 404, 409, 410])
    func aRefusedCodeChangesNothing(status: Int) throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in
            .status(status, text: "this code was used\nask for a new one\n")
        }
        let error = try #require(throws: SyncError.self) { try device.enroll(hub.url) }
        guard case .codeRefused = error else {
            Issue.record("\(error) instead of codeRefused")
            return
        }
        #expect(error.description == "this code was used")
        #expect(error.hint == "ask for a new one")
        #expect(error.category == .notEnrolled)
        #expect(try !device.journal.isEnrolled())
    }

    @Test func anEnrolmentOutlivesAFailedFirstPull() throws {
        let device = try Device()
        let hub = try ScriptedHub { call in
            call.path == "/v1/enroll" ? ScriptedHub.enrolled() : .status(500, text: "broken")
        }
        let report = try device.enroll(hub.url)
        #expect(report.result == .gaveUp)
        #expect(try device.journal.isEnrolled())
        // The assignment came with the enrolment, so recording is possible at once.
        try device.add()
    }

    @Test func aBadAddressIsRefusedBeforeAnythingIsSent() throws {
        let device = try Device()
        let error = try #require(throws: SyncError.self) { try device.enroll("ftp://x") }
        #expect(error.category == .usage)
        #expect(try !device.journal.isEnrolled())
    }

    @Test func aPinNeedsHTTPS() throws {
        let device = try Device()
        let code = "ABCD-P" + String(repeating: "A", count: 52)
        let error = try #require(throws: SyncError.self) {
            try device.enroll("http://127.0.0.1:1", code: code)
        }
        #expect(error.category == .usage)
    }

    // MARK: Sync

    @Test func whatWaitsGoesUpAndComesBack() throws {
        let device = try Device()
        let hub = try ScriptedHub(ScriptedHub.honest)
        _ = try device.enroll(hub.url)
        let id = try device.add()
        let report = try device.client().sync()
        #expect(report.result == .complete)
        #expect(report.settledGroups == 1)
        #expect(report.waitingGroups == 0)
        #expect(report.roundTrips == 1)
        #expect(report.bytesUp > 0)
        #expect(report.bytesDown > 0)
        #expect(report.news.isEmpty)
        #expect(try device.journal.snapshot(of: id).created.isApproximate == false)
    }

    @Test func aLostAnswerIsAskedForAgainUnchanged() throws {
        let device = try Device()
        let hub = try ScriptedHub { call in
            call.number == 1 ? .hangUp : try ScriptedHub.honest(call)
        }
        try device.belong(to: hub.url)
        try device.add()
        let report = try device.client().sync()
        #expect(report.result == .complete)
        #expect(device.pauses == [1_000])
        let requests = try hub.calls.map { try $0.request }
        #expect(requests.count == 2)
        #expect(requests[0].groups == requests[1].groups)
        #expect(requests[0].attempt != requests[1].attempt)
    }

    @Test func threeFailuresEndTheSyncAndLoseNothing() throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in .status(503, text: "busy") }
        try device.belong(to: hub.url)
        try device.add()
        let report = try device.client().sync()
        #expect(report.result == .gaveUp)
        #expect(report.failure?.category == .tryLater)
        #expect(report.failure?.description == "busy")
        #expect(report.waitingGroups == 1)
        #expect(device.pauses == [1_000, 2_000])
        #expect(hub.calls.count == 3)
    }

    @Test func aShortRetryAfterIsObeyedAndALongOneLeftToThePerson() throws {
        let short = try Device()
        let patient = try ScriptedHub { call in
            call.number == 1 ? .status(429, retryAfter: 4) : try ScriptedHub.honest(call)
        }
        try short.belong(to: patient.url)
        #expect(try short.client().sync().result == .complete)
        #expect(short.pauses == [4_000])

        let long = try Device()
        let busy = try ScriptedHub { _ in .status(503, retryAfter: 600) }
        try long.belong(to: busy.url)
        let report = try long.client().sync()
        #expect(report.failure?.hint == "Sync again in 600 seconds.")
        #expect(long.pauses.isEmpty)
        #expect(busy.calls.count == 1)
    }

    @Test func aRefusedConnectionIsToldAtOnce() throws {
        let device = try Device()
        try device.belong(to: try ScriptedHub.refusingURL())
        try device.add()
        let report = try device.client().sync()
        #expect(report.result == .gaveUp)
        #expect(report.failure?.category == .unreachable)
        #expect(report.waitingGroups == 1)
        #expect(device.pauses.isEmpty)
    }

    @Test func anUnknownDictionaryIsLeftOutFromThenOn() throws {
        let device = try Device()
        let hub = try ScriptedHub { call in
            call.usedDictionary ? .status(415) : try ScriptedHub.honest(call)
        }
        try device.belong(to: hub.url)
        try device.add()
        let client = try device.client()
        #expect(client.sync().result == .complete)
        try device.add()
        #expect(client.sync().result == .complete)
        #expect(hub.calls.map(\.usedDictionary) == [true, false, false])
    }

    @Test(arguments: [
        (401, SyncError.Category.notEnrolled), (403, .notEnrolled), (426, .failed), (500, .failed),
        (404, .failed),
    ])
    func finalAnswersAreNotAskedForAgain(status: Int, category: SyncError.Category) throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in .status(status, text: "no\u{1B}[31m\nwhy\n") }
        try device.belong(to: hub.url)
        try device.add()
        let report = try device.client().sync()
        #expect(report.result == .gaveUp)
        #expect(report.failure?.category == category)
        // A server's text cannot drive the terminal.
        #expect(report.failure?.description == "no[31m")
        #expect(report.failure?.hint == "why")
        #expect(report.waitingGroups == 1)
        #expect(hub.calls.count == 1)
    }

    @Test(arguments: [[], Array("<html>sign in</html>".utf8), [0x57, 0x59, 1, 0, 0, 0, 0, 0]])
    func whatIsNoFrameIsNoAnswer(body: [UInt8]) throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in .raw(body) }
        try device.belong(to: hub.url)
        try device.add()
        let report = try device.client().sync()
        guard case .badAnswer? = report.failure else {
            Issue.record("\(String(describing: report.failure)) instead of badAnswer")
            return
        }
        #expect(report.failure?.category == .unreachable)
        #expect(report.waitingGroups == 1)
    }

    @Test(arguments: [200, 302, 307, 400, 401, 403, 404, 426, 500, 511])
    func aPageOfSomethingBetweenIsNotTheHubs(status: Int) throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in
            .status(status, text: "<!DOCTYPE html>", mediaType: "text/html; charset=utf-8")
        }
        try device.belong(to: hub.url)
        try device.add()
        let report = try device.client().sync()
        #expect(report.failure?.category == .unreachable)
        #expect(report.failure?.description.contains("html") == false)
        #expect(report.waitingGroups == 1)
        // Nor does it take an invite code away from anybody.
        let newcomer = try Device()
        let error = try #require(throws: SyncError.self) { try newcomer.enroll(hub.url) }
        #expect(error.category == .unreachable)
    }

    @Test(arguments: [302, 407, 511])
    func aHubNeitherRedirectsNorAsksToBeSignedInTo(status: Int) throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in .status(status, text: "sign in") }
        try device.belong(to: hub.url)
        #expect(try device.client().sync().failure?.category == .unreachable)
    }

    @Test func aGatewaysPageIsNotShown() throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in
            .status(
                502, text: "<html>Bad Gateway</html>", retryAfter: 86_400, mediaType: "text/html")
        }
        try device.belong(to: hub.url)
        let report = try device.client().sync()
        #expect(report.failure?.retryAfterSeconds == nil)
        #expect(report.failure?.category == .tryLater)
        #expect(report.failure?.description == "the server is busy (502)")
    }

    @Test func anAnswerToAnotherRequestIsNotTaken() throws {
        let device = try Device()
        let hub = try ScriptedHub { call in
            var request = try call.request
            if call.number == 1 { request.attempt ^= 1 }
            return .message(ScriptedHub.admit(request).encoded())
        }
        try device.belong(to: hub.url)
        try device.add()
        let report = try device.client().sync()
        #expect(report.result == .complete)
        #expect(hub.calls.count == 2)
        #expect(device.pauses == [0])
    }

    @Test func aHubThatMovesNothingOnIsGivenUp() throws {
        let device = try Device()
        let hub = try ScriptedHub { call in
            let request = try call.request
            return .message(
                SyncAnswer(
                    attempt: request.attempt, hubMilliseconds: 1_800_000_000_000,
                    page: Page(resume: [1])
                ).encoded())
        }
        try device.belong(to: hub.url)
        let report = try device.client().sync()
        #expect(report.failure == .noProgress)
        #expect(hub.calls.count == 2)
    }

    @Test func aPullGoesOnWhereItWasCutOff() throws {
        let device = try Device()
        let hub = try ScriptedHub { call in
            let request = try call.request
            guard call.number > 1 else {
                return .message(
                    SyncAnswer(
                        attempt: request.attempt, hubMilliseconds: 1_800_000_000_000,
                        page: Page(resume: [9])
                    ).encoded())
            }
            return call.number == 2 ? .status(500) : .message(ScriptedHub.admit(request).encoded())
        }
        try device.belong(to: hub.url)
        #expect(try device.client().sync().result == .gaveUp)
        #expect(try device.client().sync().result == .complete)
        #expect(try hub.calls.map { try $0.request.resume } == [[], [9], [9]])
    }

    @Test func refusalsAreReported() throws {
        let device = try Device()
        let hub = try ScriptedHub { call in
            let request = try call.request
            var answer = ScriptedHub.admit(request)
            answer.page?.records = []
            answer.outcomes?.refusals = [
                .init(firstCounter: 1, code: RejectionCode.scope.rawValue, field: 0, reason: "no")
            ]
            return .message(answer.encoded())
        }
        try device.belong(to: hub.url)
        try device.add()
        let report = try device.client().sync()
        #expect(report.result == .complete)
        #expect(report.news.refused == 1)
        #expect(try device.journal.refused().count == 1)
    }

    // MARK: Interrupts and locks

    @Test func anInterruptEndsItAndLosesNothing() throws {
        let device = try Device()
        let hub = try ScriptedHub(ScriptedHub.honest)
        try device.belong(to: hub.url)
        try device.add()
        let client = try device.client()
        client.interrupt.cancel()
        let report = client.sync()
        #expect(report.result == .interrupted)
        #expect(report.failure?.category == .interrupted)
        #expect(report.waitingGroups == 1)
        #expect(hub.calls.isEmpty)
    }

    @Test func anInterruptWhileWaitingEndsIt() throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in .status(503) }
        try device.belong(to: hub.url)
        let client = try SyncClient(
            journal: device.journal, pause: { _, interrupt in interrupt.cancel() },
            lockTimeoutMilliseconds: 0)
        #expect(client.sync().result == .interrupted)
        #expect(hub.calls.count == 1)
    }

    @Test func twoSyncsDoNotRunAtOnce() throws {
        let device = try Device()
        let hub = try ScriptedHub(ScriptedHub.honest)
        try device.belong(to: hub.url)
        try device.add()
        let lock = try SyncLock(
            journalPath: device.journal.path, timeoutMilliseconds: 0, isCancelled: { false })
        let report = try withExtendedLifetime(lock) { try device.client().sync() }
        #expect(report.failure == .busy)
        #expect(report.failure?.category == .tryLater)
        #expect(report.waitingGroups == 1)
        #expect(hub.calls.isEmpty)
    }

    @Test func theLockEndsWithItsHolder() throws {
        let device = try Device()
        for _ in 0..<2 {
            let lock = try SyncLock(
                journalPath: device.journal.path, timeoutMilliseconds: 0, isCancelled: { false })
            #expect(throws: SyncError.busy) {
                try SyncLock(
                    journalPath: device.journal.path, timeoutMilliseconds: 0,
                    isCancelled: { false })
            }
            withExtendedLifetime(lock) {}
        }
    }

    @Test func aWatchSyncsUntilToldToStop() throws {
        let device = try Device()
        let hub = try ScriptedHub(ScriptedHub.honest)
        try device.belong(to: hub.url)
        var reports = 0
        try device.client().watch(intervalSeconds: 30) { report in
            #expect(report.result == .complete)
            reports += 1
            return reports < 3
        }
        #expect(reports == 3)
        #expect(device.pauses == [30_000, 30_000])
    }

    @Test(arguments: [(600, 600_000), (86_400, 3_600_000)])
    func aWatchLeavesABusyHubAlone(seconds: Int, milliseconds: Int) throws {
        let device = try Device()
        let hub = try ScriptedHub { _ in .status(503, retryAfter: seconds) }
        try device.belong(to: hub.url)
        var reports = 0
        try device.client().watch(intervalSeconds: 30) { _ in
            reports += 1
            return reports < 2
        }
        #expect(device.pauses == [milliseconds])
    }

    /// What waits, and the new token, are for the new hub's eyes only.
    @Test func aClientDoesNotFollowToAnotherHub() throws {
        let device = try Device()
        let former = try ScriptedHub(ScriptedHub.honest)
        try device.belong(to: former.url)
        try device.add()
        let client = try device.client()
        try device.belong(to: "http://127.0.0.1:9", token: "token-2")
        #expect(client.sync().failure == .enrolledElsewhere)
        #expect(throws: SyncError.enrolledElsewhere) {
            try client.fetchHistory(of: try device.journal.needs()[0].id)
        }
        #expect(former.calls.isEmpty)
        // A new token of the same hub is taken.
        try device.belong(to: former.url, token: "token-3")
        #expect(client.sync().result == .complete)
        #expect(former.calls.map(\.authorization) == ["Bearer token-3"])
    }

    @Test func withoutEnrolmentThereIsNoClient() throws {
        let device = try Device()
        #expect(throws: SyncError.journal(.notEnrolled)) { try device.client() }
    }

    // MARK: History

    @Test func historyComesWithItsClocks() throws {
        let device = try Device()
        let id = try {
            try device.belong(to: "http://127.0.0.1:9")
            return try device.add()
        }()
        let replica = try device.journal.replica()
        let entry = HistoryEntry(
            field: NeedField.text.rawValue, value: Array("原来".utf8),
            stamp: Stamp(milliseconds: 5, dot: Dot(replica, 1)), sequence: 3, writer: "",
            clock: VectorClock([Dot(replica, 1), Dot(ScriptedHub.term, 2)]), isLive: false,
            isWinner: false, isTimeUncertain: true)
        let hub = try ScriptedHub { _ in .message(HistoryCoding.encode(entries: [entry])) }
        try device.belong(to: hub.url)
        let lines = try device.client().fetchHistory(of: id)
        #expect(lines.count == 1)
        let call = try #require(hub.calls.first)
        #expect(call.path == "/v1/history")
        #expect(try HistoryCoding.decodeRequest(call.message) == id)
        let line = try #require(lines.first)
        #expect(line.field == .text)
        #expect(line.fieldValue == .text("原来"))
        #expect(line.isOwn)
        #expect(line.writer == nil)
        #expect(line.time == ShownTime(milliseconds: 5, isApproximate: true))
        #expect(line.clock[ScriptedHub.term] == 2)
        #expect(!line.isLive)
    }
}
