import SyncCore
import Testing

@Suite struct DeviceSessionTests {
    private typealias Event = DeviceSession.Event

    private func answer(
        complete: Bool = false, wait: Bool = true, audit: Bool = false, progressed: Bool = true,
        after: Int64 = 10_000
    ) -> Event {
        .absorbed(
            .init(
                pullComplete: complete, groupsWait: wait, auditWaits: audit,
                progressed: progressed, elapsedMilliseconds: after))
    }

    private func randomEvent(_ generator: inout SplitMix64) -> Event {
        switch generator.below(8) {
        case 0: .begin
        case 1: .interrupted
        case 2, 3: .failed(isTemporary: !generator.oneIn(4))
        default:
            answer(
                complete: generator.oneIn(3), wait: !generator.oneIn(3),
                audit: generator.oneIn(3), progressed: !generator.oneIn(6),
                after: generator.wildNumber())
        }
    }

    @Test func everySequenceOfEventsKeepsTheBounds() {
        forEachSeed(5_000) { generator in
            var session = DeviceSession()
            var exchanges = 0
            var hasFinished = false
            for _ in 0..<60 {
                let directives = session.step(randomEvent(&generator))
                try check(directives.count <= 1, "\(directives)")
                try check(!hasFinished || directives.isEmpty, "busy after the end")
                for directive in directives {
                    switch directive {
                    case .exchange(let batch, let page):
                        exchanges += 1
                        try check(
                            (Limits.batchBytesMin...Limits.batchBytesMax).contains(batch)
                                && (Limits.pageBytesMin...Limits.pageBytesMax).contains(page),
                            "\(directive)")
                    case .finish: hasFinished = true
                    }
                }
            }
            try check(exchanges <= 61)
        }
    }

    /// A hub that always has more, or a link that always recovers, must not hold a device for ever.
    @Test(arguments: [0, 1, 2])
    func everySyncEnds(failuresBetween: Int) {
        var session = DeviceSession()
        var directives = session.step(.begin)
        var roundTrips = 0
        while case .exchange = directives.first {
            roundTrips += 1
            guard roundTrips <= Limits.roundTripsPerSyncMax + Limits.transportTriesMax else {
                break
            }
            let fails = roundTrips % (failuresBetween + 1) != 0
            directives = session.step(fails ? .failed(isTemporary: true) : answer())
        }
        #expect(directives == [.finish(.gaveUp)])
        #expect(roundTrips >= Limits.roundTripsPerSyncMax)
        #expect(roundTrips < Limits.roundTripsPerSyncMax + Limits.transportTriesMax)
    }

    /// A difference that cannot be mended must not hold a device either; the sync is complete.
    @Test func aSearchEndsAtItsBound() {
        var session = DeviceSession()
        var directives = session.step(.begin)
        var roundTrips = 0
        while case .exchange = directives.first, roundTrips < 1_000 {
            roundTrips += 1
            directives = session.step(answer(complete: true, wait: false, audit: true))
        }
        #expect(directives == [.finish(.complete)])
        #expect(roundTrips == Limits.auditRoundTripsPerSyncMax + 1)
    }

    @Test func audit() throws {
        var transcript = Transcript("A disk has altered a record, and the digests differ.")
        transcript.device(.begin)
        transcript.device(answer(complete: true, wait: false, audit: true, after: 900))
        transcript.note("It asks for the digests of all buckets; one differs.")
        transcript.device(answer(complete: true, wait: false, audit: true, after: 900))
        transcript.note("It asks for the records of that bucket; one differs.")
        transcript.device(answer(complete: true, wait: false, audit: true, after: 900))
        transcript.note("It asks for that record, and it comes whole.")
        transcript.device(answer(complete: true, wait: false, after: 900))
        try transcript.expectGolden("audit")
    }

    @Test func failuresInARowGiveUpAtTheirBound() {
        var session = DeviceSession()
        _ = session.step(.begin)
        for _ in 1..<Limits.transportTriesMax {
            let directives = session.step(.failed(isTemporary: true))
            #expect(directives.first != .finish(.gaveUp))
        }
        let directives = session.step(.failed(isTemporary: true))
        #expect(directives == [.finish(.gaveUp)])
    }

    @Test func eventsBeforeTheBeginningChangeNothing() {
        var session = DeviceSession()
        for event in [answer(complete: true, wait: false), .failed(isTemporary: false)] {
            let early = session.step(event)
            #expect(early.isEmpty)
        }
        let first = session.step(.begin)
        #expect(
            first == [
                .exchange(
                    batchBytesMax: Limits.batchBytesStart, pageBytesMax: Limits.pageBytesStart)
            ])
        let second = session.step(.begin)
        #expect(second.isEmpty)
    }

    // MARK: - Golden transcripts

    @Test func happy() throws {
        var transcript = Transcript("Twelve changes wait and the feed has two pages.")
        transcript.device(.begin)
        transcript.note("The batch takes all twelve; the first page of two comes back.")
        transcript.device(answer(wait: false, after: 900))
        transcript.note("A good link: the next round trip may carry eight times as much.")
        transcript.device(answer(complete: true, wait: false, after: 1_100))
        try transcript.expectGolden("happy")
    }

    @Test func retry() throws {
        var transcript = Transcript("The answer to the first request is lost on the way.")
        transcript.device(.begin)
        transcript.hub(groups: groups(1...3), expected: 1, next: 4)
        transcript.note("The hub admitted the groups and answered; the device hears nothing.")
        transcript.device(.failed(isTemporary: true))
        transcript.note("The same groups again, in a new envelope; less in one go.")
        transcript.hub(groups: groups(1...3), expected: 4, next: 4, stored: groups(1...3))
        transcript.device(answer(complete: true, wait: false, after: 6_000))
        try transcript.expectGolden("retry")
    }

    @Test func gaveUp() throws {
        var transcript = Transcript("There is no signal after all.")
        transcript.device(.begin)
        transcript.device(.failed(isTemporary: true))
        transcript.device(.failed(isTemporary: true))
        transcript.device(.failed(isTemporary: true))
        transcript.note("Everything stays in the journal for the next sync.")
        transcript.device(answer(complete: true, wait: false))
        transcript.note("An answer this late finds nobody.")
        try transcript.expectGolden("gave-up")
    }

    @Test func refusedByTheServer() throws {
        var transcript = Transcript("The token was revoked: HTTP 401, and trying again is no use.")
        transcript.device(.begin)
        transcript.device(.failed(isTemporary: false))
        try transcript.expectGolden("not-temporary")
    }

    @Test func interrupted() throws {
        var transcript = Transcript("A person presses Ctrl-C between two pages.")
        transcript.device(.begin)
        transcript.device(answer(wait: false, after: 12_000))
        transcript.device(.interrupted)
        transcript.note("The staged page stays; the next sync resumes behind it.")
        try transcript.expectGolden("interrupted")
    }

    @Test func noProgress() throws {
        var transcript = Transcript("A hub that answers but never moves on.")
        transcript.device(.begin)
        transcript.device(answer(after: 300))
        transcript.device(answer(progressed: false, after: 300))
        try transcript.expectGolden("no-progress")
    }

    @Test func slowLink() throws {
        var transcript = Transcript("A link so slow that round trips shrink to their least.")
        transcript.device(.begin)
        for _ in 0..<4 { transcript.device(answer(after: 45_000)) }
        transcript.device(answer(after: 20_000))
        transcript.note("Neither fast nor slow: nothing changes.")
        transcript.device(answer(complete: true, wait: false, after: 20_000))
        try transcript.expectGolden("slow-link")
    }

    @Test func forkThenContinue() throws {
        var transcript = Transcript(
            "A journal was copied to a second machine; the other copy synced first.")
        transcript.device(.begin)
        transcript.note("Both copies had 1 and 2; the other one has since sent its own 3 to 5.")
        transcript.hub(
            groups: groups(1...4), expected: 6, next: 5,
            stored: groups(1...2) + groups(3...5, mark: 9))
        transcript.note(
            "The journal goes on as a new replica, descended from the old one up to 2; its 3 and"
                + " 4 become 1 and 2.")
        transcript.device(answer(after: 2_000))
        transcript.hub(groups: groups(1...2, mark: 3), expected: 1, next: 3)
        transcript.device(answer(complete: true, wait: false, after: 2_000))
        try transcript.expectGolden("fork")
    }

    @Test func restoredJournal() throws {
        var transcript = Transcript(
            "A journal was restored from an older copy; nothing waits in it.")
        transcript.device(.begin)
        transcript.hub(groups: [], expected: 6, next: 3, stored: groups(1...5))
        transcript.note("The new replica descends from the old one up to 2. What was lost, 3 to 5,")
        transcript.note("comes back from the hub with the pull.")
        transcript.device(answer(complete: true, wait: false, after: 700))
        try transcript.expectGolden("restored-journal")
    }

    @Test func gap() throws {
        var transcript = Transcript(
            "What waited from 3 to 5 was damaged on the device before the hub had it.")
        transcript.device(.begin)
        transcript.hub(groups: groups(6...7), expected: 3, next: 8, stored: groups(1...2))
        transcript.note("The device had set them aside: it says missing_from 3, held_from 6.")
        transcript.device(answer(after: 800))
        transcript.note("The hub records the gap 3 to 5 and awaits 6.")
        transcript.hub(groups: groups(6...7), expected: 6, next: 8, stored: groups(1...2))
        transcript.device(answer(complete: true, wait: false, after: 800))
        try transcript.expectGolden("gap")
    }

    /// Groups of one change each; `mark` tells one copy's content from another's.
    private func groups(_ counters: ClosedRange<UInt64>, mark: UInt8 = 0) -> [ChangeGroup] {
        counters.map { counter in
            ChangeGroup(
                record: RecordID(high: 1, low: 1), createdKind: nil, firstCounter: counter,
                changes: [Change(field: 1, value: [mark])], base: .origin,
                written: ClockReading(wallMilliseconds: 0, boot: 1, elapsedMilliseconds: 1))
        }
    }
}

/// A session's events and directives, and the hub's judgements, as lines for people to read.
private struct Transcript {
    private var session = DeviceSession()
    private var lines: [String]

    init(_ title: String) { lines = [title, ""] }

    mutating func note(_ text: String) { lines.append("# \(text)") }

    mutating func device(_ event: DeviceSession.Event) {
        lines.append("device  \(Self.text(event))")
        let directives = session.step(event)
        for directive in directives { lines.append("        -> \(Self.text(directive))") }
        if directives.isEmpty { lines.append("        -> nothing") }
    }

    mutating func hub(
        groups: [ChangeGroup], expected: UInt64, next: UInt64, stored: [ChangeGroup] = []
    ) {
        let range =
            groups.isEmpty
            ? "no groups" : "\(groups.first!.firstCounter) to \(groups.last!.nextCounter - 1)"
        lines.append("hub     gets \(range), the device's next is \(next); it awaits \(expected)")
        let judgement = Admission.judge(
            groups: groups, expected: expected, deviceNextCounter: next,
            isSameBelow: { _ in true },
            stored: { counter in stored.first { $0.firstCounter == counter } })
        lines.append("        -> \(Self.text(judgement, of: groups.count))")
    }

    func expectGolden(
        _ name: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        try Repository.expectGolden(
            lines.joined(separator: "\n") + "\n", at: "protocol/transcripts/\(name).txt",
            sourceLocation: sourceLocation)
    }

    private static func text(_ event: DeviceSession.Event) -> String {
        switch event {
        case .begin: "begins"
        case .interrupted: "is interrupted"
        case .failed(let isTemporary): isTemporary ? "gets no answer" : "is turned away"
        case .absorbed(let answer):
            "absorbs an answer after \(answer.elapsedMilliseconds) ms: "
                + (answer.pullComplete ? "pull complete" : "more pages")
                + (answer.groupsWait ? ", groups wait" : ", no group waits")
                + (answer.auditWaits ? ", something differs" : "")
                + (answer.progressed ? "" : ", nothing moved")
        }
    }

    private static func text(_ directive: DeviceSession.Directive) -> String {
        switch directive {
        case .exchange(let batch, let page): "exchange at most \(batch) B up, \(page) B down"
        case .finish(.complete): "finish: complete"
        case .finish(.gaveUp): "finish: gave up"
        case .finish(.interrupted): "finish: interrupted"
        }
    }

    private static func text(_ judgement: Admission, of count: Int) -> String {
        switch judgement {
        case .admit(let known): "knows \(known), admits \(count - known)"
        case .fork(let known, let counter): "knows \(known), fork from \(counter)"
        case .expected(let counter): "expects \(counter)"
        }
    }
}
