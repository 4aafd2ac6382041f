package import SyncCore

/// Where a need stands. Never stored: computed from its fields, so no merge can contradict it.
package enum NeedStatus: String, Sendable, CaseIterable {
    case recorded
    case dispatched
    case declined
    case accepted
    case started
    case finished
    case rated
    case withdrawn

    /// Whether nothing is left to be done, so that no due date can be missed.
    package var isClosed: Bool {
        switch self {
        case .finished, .rated, .withdrawn: true
        case .recorded, .dispatched, .declined, .accepted, .started: false
        }
    }
}

/// The fields of a need that decide its status, and the versions that they come from.
package struct NeedProgress: Sendable {
    package var status: NeedStatus
    package var dispatch: FieldValue.Dispatch?
    /// The newest live answer to the current order.
    package var answer: FieldValue.Answer?
    package var answerVersion: Version?
    /// The newest live rating of the current order, once it is finished.
    package var rating: FieldValue.Rating?

    /// - Parameters:
    ///   - late: The register of ``LateAnswers``.
    ///   - register: The live versions of a field; an empty register where there is none.
    package init(late: Register = Register(), register: (NeedField) -> Register) {
        dispatch = register(.dispatch).winner.flatMap { version in
            guard let bytes = version.value,
                case .dispatch(let dispatch) = FieldValue(.dispatch, bytes: bytes)
            else { return nil }
            return dispatch
        }
        // Only answers to the current order count, so a late answer of a former team, though it
        // may be the newest version, never shows as this team's. When the office goes back to that
        // order, what came late for it counts, even if it was covered meanwhile.
        if let order = dispatch?.order {
            let versions = LateAnswers.versions(of: .answer, beside: register(.answer), late: late)
            for version in versions {
                guard let bytes = version.value,
                    case .answer(let candidate) = FieldValue(.answer, bytes: bytes),
                    candidate.order == order
                else { continue }
                answer = candidate
                answerVersion = version
                break
            }
        }
        if let order = dispatch?.order, answer?.verdict == .finished {
            let versions = LateAnswers.versions(of: .rating, beside: register(.rating), late: late)
            for version in versions {
                guard let bytes = version.value,
                    case .rating(let candidate) = FieldValue(.rating, bytes: bytes),
                    candidate.order == order
                else { continue }
                rating = candidate
                break
            }
        }
        if register(.withdrawal).winner?.value != nil {
            status = .withdrawn
        } else if dispatch == nil {
            status = .recorded
        } else {
            status =
                switch answer?.verdict {
                case nil: .dispatched
                case .accepted: .accepted
                case .declined: .declined
                case .started: .started
                case .finished: rating == nil ? .finished : .rated
                }
        }
    }

    /// Whether the due day has passed, by the banner's calendar, with work left to do.
    package func isOverdue(today: CivilDate) -> Bool {
        guard let due = dispatch?.due, !status.isClosed else { return false }
        return due < today
    }
}
