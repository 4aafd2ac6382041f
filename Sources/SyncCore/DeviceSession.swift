/// The device's side of a sync, as a state machine without I/O.
///
/// The shell feeds it events and carries out the directives it returns, in order, each finished
/// before the next. All that must survive a crash lives in the journal, so a session can be thrown
/// away at any moment and a new one started.
///
/// One round trip does both directions: it carries the oldest unsettled groups up and a page of
/// the feed down, and is repeated until there is neither.
///
/// - SeeAlso: `protocol/SPEC.md` §6; golden transcripts in `protocol/transcripts`.
package struct DeviceSession: Sendable {
    package enum Event: Hashable, Sendable {
        case begin
        /// An answer arrived and is durable in the journal: outcomes, staged page, and, when the
        /// pull is complete, its content.
        case absorbed(Answer)
        /// Nothing arrived, or nothing that can be used. `isTemporary` is false when trying again
        /// cannot help.
        case failed(isTemporary: Bool)
        case interrupted
    }

    /// What an absorbed answer means for the session.
    package struct Answer: Hashable, Sendable {
        /// Whether the pull is complete and shown.
        package var pullComplete: Bool
        /// Whether groups are left that have no outcome.
        package var groupsWait: Bool
        /// Whether the device holds something else than the hub, and has not found out what.
        package var auditWaits: Bool
        /// Whether the answer settled a group, brought a page, or otherwise moved things on.
        package var progressed: Bool
        /// How long the round trip took.
        package var elapsedMilliseconds: Int64

        package init(
            pullComplete: Bool, groupsWait: Bool, auditWaits: Bool = false, progressed: Bool,
            elapsedMilliseconds: Int64
        ) {
            self.pullComplete = pullComplete
            self.groupsWait = groupsWait
            self.auditWaits = auditWaits
            self.progressed = progressed
            self.elapsedMilliseconds = elapsedMilliseconds
        }
    }

    package enum Directive: Hashable, Sendable {
        /// Send one request with at most this much content up, asking for as much down, absorb the
        /// answer in one transaction, and report.
        case exchange(batchBytesMax: Int, pageBytesMax: Int)
        case finish(Result)
    }

    package enum Result: Hashable, Sendable {
        /// Everything went up and the newest complete pull is shown.
        case complete
        /// What was sent is safe; the rest waits for the next sync.
        case gaveUp
        case interrupted
    }

    private enum State: Hashable, Sendable {
        case idle
        case exchanging(roundTrips: Int, failures: Int, audits: Int, budget: Budget)
        case finished
    }

    /// How much a round trip carries: small at first, since a bad link loses all of it.
    private struct Budget: Hashable, Sendable {
        var batchBytes = Limits.batchBytesStart
        var pageBytes = Limits.pageBytesStart

        mutating func adapt(elapsedMilliseconds: Int64) {
            if elapsedMilliseconds < 4_000 {
                batchBytes = min(batchBytes * 8, Limits.batchBytesMax)
                pageBytes = min(pageBytes * 8, Limits.pageBytesMax)
            } else if elapsedMilliseconds > 30_000 {
                shrink()
            }
        }

        mutating func shrink() {
            batchBytes = max(batchBytes / 4, Limits.batchBytesMin)
            pageBytes = max(pageBytes / 4, Limits.pageBytesMin)
        }

        var directive: Directive {
            .exchange(batchBytesMax: batchBytes, pageBytesMax: pageBytes)
        }
    }

    private var state: State = .idle

    package init() {}

    /// Advances one step.
    package mutating func step(_ event: Event) -> [Directive] {
        switch (state, event) {
        case (.idle, .begin):
            let budget = Budget()
            state = .exchanging(roundTrips: 1, failures: 0, audits: 0, budget: budget)
            return [budget.directive]

        case (.exchanging(let roundTrips, _, var audits, var budget), .absorbed(let answer)):
            if answer.pullComplete && !answer.groupsWait {
                // The journal goes on with its search in the next sync.
                guard answer.auditWaits, audits < Limits.auditRoundTripsPerSyncMax else {
                    return finish(.complete)
                }
                audits += 1
            }
            // An answer that moves nothing would be asked for again for ever.
            if !answer.progressed || roundTrips >= Limits.roundTripsPerSyncMax {
                return finish(.gaveUp)
            }
            budget.adapt(elapsedMilliseconds: answer.elapsedMilliseconds)
            state = .exchanging(
                roundTrips: roundTrips + 1, failures: 0, audits: audits, budget: budget)
            return [budget.directive]

        case (
            .exchanging(let roundTrips, let failures, let audits, var budget),
            .failed(let isTemporary)
        ):
            guard isTemporary, failures + 1 < Limits.transportTriesMax else {
                return finish(.gaveUp)
            }
            budget.shrink()
            state = .exchanging(
                roundTrips: roundTrips + 1, failures: failures + 1, audits: audits, budget: budget)
            return [budget.directive]

        case (.exchanging, .interrupted):
            return finish(.interrupted)

        case (.exchanging, .begin), (.idle, _), (.finished, _):
            return []  // Late or repeated: nothing to do.
        }
    }

    private mutating func finish(_ result: Result) -> [Directive] {
        state = .finished
        return [.finish(result)]
    }
}
