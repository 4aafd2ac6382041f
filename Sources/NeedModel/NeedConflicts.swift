package import SyncCore

/// Answers and ratings that the current order has not seen and that name another one: work of a
/// former team, done while the office sent somebody else. They count for nothing, so somebody must
/// decide, and until then they are kept where no answer to another order can cover them.
///
/// The hub keeps them in a register of their own. It puts in what comes late, and only a dispatch
/// that has seen them takes them out. A value is one byte, the number of the field that it comes
/// from, and then that field's bytes; a cleared version stands for the dispatch that decided.
///
/// - SeeAlso: `protocol/SPEC.md` §4.
package enum LateAnswers {
    /// A field that no device may write. Numbers from 64 on are the hub's own.
    package static let field: UInt32 = 64

    /// The fields that name an order.
    package static let sources: [NeedField] = [.answer, .rating]

    /// The order that a value of ``sources`` names.
    package static func order(of field: NeedField, _ bytes: [UInt8]?) -> UInt64? {
        guard let bytes else { return nil }
        switch field {
        case .answer:
            guard case .answer(let answer) = FieldValue(.answer, bytes: bytes) else { return nil }
            return answer.order
        case .rating:
            guard case .rating(let rating) = FieldValue(.rating, bytes: bytes) else { return nil }
            return rating.order
        default: return nil
        }
    }

    /// Brings the register up to date after a change of the record was merged.
    ///
    /// - Parameters:
    ///   - late: The register of ``field``.
    ///   - field: The field that was changed.
    ///   - version: The change.
    ///   - register: The record's live versions, the change among them.
    package static func update(
        _ late: inout Register, after field: NeedField, version: Version,
        register: (NeedField) -> Register
    ) {
        guard let dispatch = register(.dispatch).winner,
            let order = Self.order(ofDispatch: dispatch.value)
        else { return }
        switch field {
        case .dispatch:
            let former = sources.flatMap { source in
                register(source).versions.compactMap {
                    kept($0, of: source, dispatch: dispatch, order: order)
                }
            }
            if late.versions.isEmpty && former.isEmpty { return }
            // What belongs to the order that now counts is kept: it counts with it.
            let counting = late.versions.filter { named(by: $0.value) == order }
            // Also where nothing is taken out: it bears the sequence by which the feed finds that
            // the register has changed.
            late.insert(
                Version(
                    value: nil, stamp: version.stamp, sequence: version.sequence,
                    clock: version.clock, formerPositions: version.formerPositions))
            let others = late.versions.filter { other in
                !counting.contains { $0.dot == other.dot }
            }
            late = Register(live: others + counting)
            for version in former { keep(version, in: &late) }
        case .answer, .rating:
            if let version = kept(version, of: field, dispatch: dispatch, order: order) {
                keep(version, in: &late)
            }
        default: break
        }
    }

    /// Adds what came late.
    private static func keep(_ version: Version, in late: inout Register) {
        var (related, apart) = parted(late, at: version, in: field)
        related.insert(version)
        late = Register(live: related.versions + apart)
    }

    /// A register without what has nothing to do with a version, and that.
    package static func parted(
        _ register: Register, at version: Version, in field: UInt32
    ) -> (related: Register, apart: [Version]) {
        let apart = register.versions.filter { areApart($0, version, in: field) }
        if apart.isEmpty { return (register, []) }
        let related = register.versions.filter { !areApart($0, version, in: field) }
        return (Register(live: related), apart)
    }

    /// Whether two versions of a field have nothing to do with each other, which is so only of what
    /// came late of different fields: a rating has seen the finish that it rates, and counts with
    /// nothing else.
    package static func areApart(_ one: Version, _ other: Version, in field: UInt32) -> Bool {
        guard field == Self.field, let source = one.value?.first,
            let otherSource = other.value?.first
        else { return false }
        return source != otherSource
    }

    /// The register's version for a change that came late; `nil` for one that did not.
    private static func kept(
        _ version: Version, of field: NeedField, dispatch: Version, order: UInt64
    ) -> Version? {
        guard let named = Self.order(of: field, version.value), named != order,
            version.isConcurrent(with: dispatch), let value = version.value
        else { return nil }
        var kept = version
        kept.value = [UInt8(field.rawValue)] + value
        return kept
    }

    /// What a version of the register holds; `nil` when it was decided, or when the order that it
    /// names is the current one after all.
    ///
    /// - Parameter value: Of the register's version.
    package static func open(
        _ value: [UInt8]?, currentOrder: UInt64?
    ) -> (field: NeedField, bytes: [UInt8])? {
        guard let value, let first = value.first, let field = NeedField(rawValue: UInt32(first))
        else { return nil }
        let bytes = Array(value.dropFirst())
        guard let order = order(of: field, bytes), order != currentOrder else { return nil }
        return (field, bytes)
    }

    /// The versions of a field, newest first: those of its own register, and those that came late.
    static func versions(
        of field: NeedField, beside register: Register, late: Register
    ) -> [Version] {
        if late.versions.isEmpty { return register.versions }
        let extra = late.versions.compactMap { version -> Version? in
            guard let value = version.value, value.first == UInt8(field.rawValue),
                !register.versions.contains(where: { $0.dot == version.dot })
            else { return nil }
            var inner = version
            inner.value = Array(value.dropFirst())
            return inner
        }
        return Register(live: register.versions + extra).versions
    }

    /// The order that a value of the register names.
    package static func named(by value: [UInt8]?) -> UInt64? {
        guard let value, let first = value.first, let field = NeedField(rawValue: UInt32(first))
        else { return nil }
        return order(of: field, Array(value.dropFirst()))
    }

    /// The number of the order that a value of the dispatch field holds.
    package static func order(ofDispatch bytes: [UInt8]?) -> UInt64? {
        guard let bytes, case .dispatch(let dispatch) = FieldValue(.dispatch, bytes: bytes) else {
            return nil
        }
        return dispatch.order
    }
}

/// Which fields of a need somebody must decide.
package enum NeedConflicts {
    /// The fields whose versions tell which of a need's versions had not seen each other: a
    /// contested delete and what contests it, the late answers and the order that they missed.
    ///
    /// - Parameters:
    ///   - contested: See ``SyncCore/Tombstone``.
    ///   - hasLate: Whether the need has a register of ``LateAnswers``.
    package static func fieldsThatTell(contested: [UInt32], hasLate: Bool) -> Set<UInt32> {
        var fields = Set(contested)
        if !contested.isEmpty { fields.insert(NeedField.withdrawal.rawValue) }
        if hasLate { fields.formUnion([NeedField.dispatch.rawValue, LateAnswers.field]) }
        return fields
    }

    /// Answers and ratings only conflict with others to the same, current order; those to another
    /// one are ``LateAnswers``, and in conflict with the dispatch.
    ///
    /// - Parameters:
    ///   - isDeleteContested: See ``SyncCore/Tombstone``.
    ///   - register: The live versions of a field.
    package static func fields(
        isDeleteContested: Bool, register: (UInt32) -> Register
    ) -> [NeedField] {
        let order = NeedProgress { register($0.rawValue) }.dispatch?.order
        return NeedField.allCases.filter { field in
            let live = register(field.rawValue)
            switch field {
            case .withdrawal: return live.isInConflict || isDeleteContested
            case .dispatch:
                return live.isInConflict
                    || register(LateAnswers.field).versions.contains {
                        LateAnswers.open($0.value, currentOrder: order) != nil
                    }
            case .answer, .rating:
                return Register(
                    live: live.versions.filter {
                        LateAnswers.order(of: field, $0.value) == order
                    }
                ).isInConflict
            case .text, .category, .grid, .resident, .phone, .address, .urgency, .location:
                return live.isInConflict
            }
        }
    }
}
