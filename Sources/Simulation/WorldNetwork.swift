import DeviceJournal
import HubLedger
import SimulatedDisk
import SyncCore
import WireFormat

// Syncs: what travels, what arrives, and what both sides make of it.

extension World {
    func startSync(_ index: Int) throws {
        let device = devices[index]
        guard device.session == nil, device.journal != nil, now >= device.awayUntil
        else { return }
        var session = DeviceSession()
        let directives = session.step(.begin)
        device.session = session
        try follow(directives, index)
    }

    private func follow(_ directives: [DeviceSession.Directive], _ index: Int) throws {
        let device = devices[index]
        for directive in directives {
            switch directive {
            case .finish:
                device.session = nil
                device.pending = nil
            case .exchange(let batchBytesMax, let pageBytesMax):
                // Small at times, so that pulls take several pages.
                let pageBytes =
                    hasSmallPages || chance.happens(0.3) ? Limits.pageBytesMin : pageBytesMax
                let batchBytes = chance.happens(0.3) ? 200 : batchBytesMax
                let made: SyncRequest?
                let isStruck = beginOperation(device.disk, isHub: false)
                defer { endOperation(device.disk, isHub: false) }
                do throws(JournalError) {
                    made = try device.journal?.makeRequest(
                        batchBytesMax: batchBytes, pageBytesMax: pageBytes,
                        clocks: device.clocks(now: now),
                        attempt: UInt32(truncatingIfNeeded: chance.next()))
                } catch {
                    guard device.disk.isDown || isStruck && error.category == .disk else {
                        throw Violation(invariant: 21, what: "\(device.name): \(error)")
                    }
                    trace.note("\(device.name)'s disk fails a request")
                    if device.disk.isDown { return try revive(device) }
                    device.stop()
                    return try reopen(device)
                }
                if device.disk.isDown { return try revive(device) }
                guard let request = made else { return }
                try digests.checkRequest(request, device: device)
                device.pending = request
                device.pendingSince = now
                let message = request.encoded()
                let frame = try Frame.encode(
                    message, usesDictionary: chance.happens(0.9), namesDictionary: true,
                    borders: .request)
                try SizeChecker.check(request, message, frame)
                trace.note(
                    "\(device.name) sends \(request.groups.count) groups from "
                        + "\(request.groups.first?.firstCounter ?? request.nextCounter)")
                if strikes(.requestLost) { continue }
                send(.request(frame), index)
                if strikes(.duplicated) { send(.request(frame), index) }
            }
        }
    }

    func send(_ content: Message.Content, _ device: Int) {
        var at = now + Int64(1 + chance.below(300))
        if strikes(.delayed) { at += Int64(chance.below(100_000)) }
        if strikes(.hung) { at += 10 * Self.answerTimeoutMilliseconds }
        if !messages.isEmpty, strikes(.reordered) {
            swap(&messages[chance.below(messages.count)].at, &at)
        }
        messageCount += 1
        messages.append(Message(at: at, order: messageCount, device: device, content: content))
    }

    /// Damages a frame on its way.
    private func travelled(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        if strikes(.truncated) { bytes.removeLast(chance.below(bytes.count)) }
        if strikes(.bitFlipped), !bytes.isEmpty {
            bytes[chance.below(bytes.count)] ^= 1 << UInt8(chance.below(8))
        }
        return bytes
    }

    /// Delivers what is due by a time, and what that brings about.
    func deliverDue(by time: Int64, hopsMax: Int) throws {
        for _ in 0..<hopsMax {
            guard messages.contains(where: { $0.at <= time }) else { return }
            try deliver()
        }
    }

    /// Delivers the message that is due first.
    func deliver() throws {
        if !oldAnswers.isEmpty, strikes(.staleAnswer) {
            let old = oldAnswers[chance.below(oldAnswers.count)]
            try receive(old.bytes, old.device, from: old.hub)
            return
        }
        guard
            let next = messages.indices.min(by: {
                (messages[$0].at, messages[$0].order) < (messages[$1].at, messages[$1].order)
            })
        else { return }
        let message = messages.remove(at: next)
        now = max(now, message.at)
        // Whoever has waited too long by then does not wait for it.
        try timeOut()
        switch message.content {
        case .request(let frame):
            var requests = [(bytes: travelled(frame), device: message.device)]
            while strikes(.sharedCommit), let next = nextRequest() {
                requests.append((travelled(next.bytes), next.device))
            }
            try serve(requests)
        case .answer(let frame, let hub): try receive(travelled(frame), message.device, from: hub)
        }
    }

    /// Takes a request that arrives so soon that it shares a commit with the one before it.
    private func nextRequest() -> (bytes: [UInt8], device: Int)? {
        let until = now + Self.commitMilliseconds
        for (index, message) in messages.enumerated() where message.at <= until {
            guard case .request(let bytes) = message.content else { continue }
            messages.remove(at: index)
            return (bytes, message.device)
        }
        return nil
    }

    /// The hub's side of requests that share a commit; mostly of one.
    private func serve(_ frames: [(bytes: [UInt8], device: Int)]) throws {
        guard let ledger = hub.ledger else { return }
        var calls: [(index: Int, request: SyncRequest, frame: [UInt8])] = []
        for frame in frames {
            do {
                let message = try Frame.decode(frame.bytes).message
                calls.append((frame.device, try SyncRequest(decoding: message), frame.bytes))
                if strikes(.hostileFrame) { try attackHub(message, as: devices[frame.device]) }
            } catch is FrameError {
                trace.note("the hub refuses a damaged frame")
            }
        }
        guard !calls.isEmpty else { return }
        let headBefore = try ledger.head()
        if calls.count > 1 { hub.noteShared(calls.map(\.request)) }
        let isStruck = beginOperation(hub.disk, isHub: true)
        defer { endOperation(hub.disk, isHub: true) }
        let results: [Result<SyncAnswer, any Error>]
        do {
            results = try ledger.sync(
                calls.map { (devices[$0.index].number, $0.request, $0.frame) }
            ).answers
        } catch let error as LedgerError {
            if hub.disk.isDown {
                trace.note("the hub dies in a request")
                return hubDies()
            }
            return try noteFailed(error, isStruck: isStruck)
        }
        if hub.disk.isDown { return hubDies() }
        endOperation(hub.disk, isHub: true)
        if calls.count > 1 {
            commitsShared += 1
            trace.note("\(calls.count) requests share a commit")
        }
        var answers: [(index: Int, request: SyncRequest, answer: SyncAnswer)] = []
        for (offset, (call, result)) in zip(calls, results).enumerated() {
            let answer: SyncAnswer
            do {
                answer = try result.get()
            } catch let error as LedgerError {
                try noteFailed(error, isStruck: isStruck)
                continue
            }
            answers.append((call.index, call.request, answer))
            try check(
                answer, to: call.request, of: devices[call.index], headBefore: headBefore,
                isLast: offset == calls.count - 1)
        }
        hubTimes.noteHead(try ledger.head())
        if strikes(.hubKilledBeforeReply) {
            crashHub(.processKilled)
            return
        }
        for (index, request, answer) in answers { try send(answer, to: request, of: index) }
    }

    /// A disk that was struck may fail a request; nothing else may.
    private func noteFailed(_ error: LedgerError, isStruck: Bool) throws {
        guard isStruck, error.isOfDisk else {
            throw Violation(invariant: 21, what: "the hub fails a request: \(error)")
        }
        trace.note("the hub's disk fails a request")
        hub.isCalm = false
    }

    /// - Parameter isLast: Whether the ledger is as it was when the page was served.
    private func check(
        _ answer: SyncAnswer, to request: SyncRequest, of device: SimulatedDevice,
        headBefore: UInt64, isLast: Bool
    ) throws {
        try outcomes.check(request, answer, headBefore: headBefore)
        let holding = try hub.rightfulHolding(of: device.number)
        pulls.noteScope(holding.scope, of: device)
        guard isLast else { return }
        try pulls.noteServed(answer, to: request, holding: holding, device: device, by: hub)
        try digests.noteServed(
            answer, to: request, records: hub.records(), holding: holding, device: device,
            isHealing: isHealing)
    }

    private func send(_ answer: SyncAnswer, to request: SyncRequest, of index: Int) throws {
        let message = answer.encoded(for: request)
        let frame = try Frame.encode(message, usesDictionary: true, borders: .answer)
        try SizeChecker.check(answer, message, frame)
        trace.note(bytes: frame)
        oldAnswers.append((index, frame, hubRestores))
        if oldAnswers.count > 20 { oldAnswers.removeFirst() }
        if strikes(.answerLost) {
            trace.note("the answer to \(devices[index].name) is lost")
            return
        }
        send(.answer(frame, hub: hubRestores), index)
        if strikes(.duplicated) { send(.answer(frame, hub: hubRestores), index) }
    }

    /// An answer of a hub that was meanwhile put back to before it may have settled what is lost
    /// with it; and if it ended a recovery there, the device has brought nothing back to the
    /// present one.
    private func noteAbsorbed(
        _ device: SimulatedDevice, _ answer: SyncAnswer, isComplete: Bool, isFormer: Bool
    ) throws {
        if isFormer {
            commands.forgetLost(ledger: try ledgerGroups(), waiting: try waitingCommands())
        }
        guard isComplete else { return }
        if answer.recovered != nil && !isFormer {
            restores.noteReturn(of: device)
        } else {
            try restores.noteChange(of: device)
        }
    }

    /// The answer may be durable although nobody was told.
    private func noteInterrupted(
        _ device: SimulatedDevice, _ answer: SyncAnswer?, isFormer: Bool
    ) throws {
        if let former = device.pulled, let inspection = try device.inspect() {
            if inspection.cursor == answer?.page?.cursor {
                device.pulledBefore.append(former)
                device.pulled = device.pulled(in: inspection)
            } else if inspection.cursor != former.cursor {
                throw Violation(
                    invariant: 14, what: "\(device.name) woke up at \(inspection.cursor)")
            }
        }
        // If it is durable, what its writers have sent again counts here too.
        if answer?.recovered != nil { device.newestShown = [:] }
        guard let answer, answer.recovered == nil || isFormer else { return }
        try noteAbsorbed(device, answer, isComplete: true, isFormer: isFormer)
    }

    private func receive(_ frame: [UInt8], _ index: Int, from hub: Int) throws {
        let isFormer = hub != hubRestores
        let device = devices[index]
        guard let request = device.pending, device.session != nil, device.journal != nil
        else { return }
        let event: DeviceSession.Event
        let isStruck = beginOperation(device.disk, isHub: false)
        defer { endOperation(device.disk, isHub: false) }
        var received: SyncAnswer?
        // When the disk fails, the answer may be durable or not: what waits need not be here still.
        do {
            let message = try Frame.decode(frame).message
            let answer = try SyncAnswer(decoding: message, for: request)
            received = answer
            if strikes(.hostileFrame) { try attack(device, message, to: request) }
            let absorbed = try device.journal?.absorb(
                message, for: request, clocks: device.clocks(now: now))
            guard let absorbed else { return }
            endOperation(device.disk, isHub: false)
            device.knownGrids = nil
            trace.note(
                "\(device.name) absorbs: \(absorbed.settledGroups) settled, "
                    + "\(answer.page?.records.count ?? 0) records"
                    + (absorbed.answer.pullComplete ? ", complete" : ""))
            if let page = answer.page { device.isMidPull = page.cursor == nil }
            if device.disk.isDown {
                device.unsettled.removeAll()
                try revive(device)
                try noteInterrupted(device, received, isFormer: isFormer)
                return
            }
            guard let own = try device.journal?.inspectCommands(),
                let inspection = try device.inspect()
            else { return }
            try pulls.checkStaged(answer, inspection, device: device)
            try commands.noteAbsorbed(
                device, own, cursor: inspection.cursor.sequence,
                outcomes: restores.happened ? nil : outcomes)
            try noteAbsorbed(
                device, answer, isComplete: absorbed.answer.pullComplete, isFormer: isFormer)
            if absorbed.answer.pullComplete {
                let areEqual = try pulls.checkAbsorbed(answer, inspection, device: device) {
                    digests.isTainted($0, device.altered)
                }
                try digests.checkAbsorbed(
                    answer, inspection, areEqual: areEqual, device: device)
                // What its writer sent again got another stamp, so nothing can be compared.
                if answer.recovered != nil { device.newestShown = [:] }
                try checkMonotonic(device, inspection)
            }
            try checkOwnWrites(device, own)
            event = .absorbed(absorbed.answer)
        } catch let error as JournalError {
            if device.disk.isDown {
                trace.note("\(device.name) dies while absorbing")
                device.unsettled.removeAll()
                try revive(device)
                try noteInterrupted(device, received, isFormer: isFormer)
                return
            }
            if error == .staleAnswer {
                // Another answer than the one awaited: the wait goes on.
                trace.note("\(device.name) refuses a stale answer")
                return
            }
            guard error.category == .disk, isStruck else {
                throw Violation(
                    invariant: 14, what: "\(device.name) cannot absorb an answer: \(error)")
            }
            trace.note("\(device.name)'s disk fails an answer")
            device.unsettled.removeAll()
            device.stop()
            try reopen(device)
            try noteInterrupted(device, received, isFormer: isFormer)
            return
        } catch is FrameError {
            trace.note("\(device.name) refuses a damaged answer")
            event = .failed(isTemporary: true)
        }
        device.pending = nil
        guard var session = device.session else { return }
        let directives = session.step(event)
        device.session = session
        try follow(directives, index)
    }

    func timeOut() throws {
        for (index, device) in devices.enumerated() {
            // The time comes first: to look at a request is to copy it.
            guard now - device.pendingSince > Self.answerTimeoutMilliseconds,
                device.pending != nil, var session = device.session
            else { continue }
            trace.note("\(device.name) gives up waiting")
            device.pending = nil
            let directives = session.step(.failed(isTemporary: true))
            device.session = session
            try follow(directives, index)
        }
    }
}
