import NeedModel
package import SyncCore
import WireFormat

/// What a completed pull brought, beside what was done on this device itself.
package struct News: Hashable, Sendable {
    /// Needs that somebody else recorded, or that came into this device's buckets.
    package var newNeeds: [RecordID] = []
    /// For a team's device: orders that went to it.
    package var newJobs: [RecordID] = []
    package var dispatched: [RecordID] = []
    package var accepted: [RecordID] = []
    package var declined: [RecordID] = []
    package var started: [RecordID] = []
    package var finished: [RecordID] = []
    package var rated: [RecordID] = []
    package var withdrawn: [RecordID] = []
    /// Brought back after a withdrawal.
    package var restored: [RecordID] = []
    /// What was recorded is shown differently now.
    package var changed: [RecordID] = []
    package var newConflicts: [RecordID] = []
    package var settledConflicts: [RecordID] = []
    /// Needs with a new remark by somebody else.
    package var noted: [RecordID] = []
    /// Needs that left this device's buckets.
    package var departed: [RecordID] = []
    /// Own commands that the hub refused.
    package var refused = 0
    /// Own changes that were admitted but lost against a later write.
    package var superseded = 0

    package init() {}

    package var isEmpty: Bool { self == News() }

    /// Adds what a later pull of the same sync brought.
    package mutating func merge(_ later: News) {
        let lists: [WritableKeyPath<News, [RecordID]>] = [
            \.newNeeds, \.newJobs, \.dispatched, \.accepted, \.declined, \.started, \.finished,
            \.rated, \.withdrawn, \.restored, \.changed, \.newConflicts, \.settledConflicts,
            \.noted, \.departed,
        ]
        for list in lists {
            // Of most things there is nothing, and the first pull of a sync brings nearly all.
            if later[keyPath: list].isEmpty { continue }
            let known = Set(self[keyPath: list])
            self[keyPath: list] += later[keyPath: list].filter { !known.contains($0) }
        }
        refused += later.refused
        superseded += later.superseded
    }
}

/// What is compared of a need, before and after a pull.
struct Glimpse {
    var status: NeedStatus
    var order: UInt64?
    var team: String?
    var isOwn: Bool
    var content: [UInt32: [UInt8]?]
    var conflicts: Set<NeedField>

    init(_ need: NeedSnapshot) {
        status = need.status
        order = need.dispatch?.order
        team = need.dispatch?.team
        isOwn = need.record.isOwn
        content = [:]
        for field in NeedField.allCases where field.isContent {
            content[field.rawValue] = need.record.value(field.rawValue)
        }
        conflicts = Set(need.conflicts.map(\.field))
    }

    /// Of a need that was sent whole, that was not here before and to which nothing was added here:
    /// there is nothing to compare its content with.
    ///
    /// - Returns: `nil` when it takes a closer look, since there may be a conflict.
    init?(ofNewcomer record: PageRecord) {
        guard record.contested.isEmpty else { return nil }
        let versions = record.versions
        var isUntouched = true
        for index in versions.indices {
            let field = versions[index].field
            if index > 0, versions[index - 1].field == field { return nil }
            if field >= LateAnswers.field { return nil }
            if let field = NeedField(rawValue: field), !field.isContent { isUntouched = false }
        }
        let progress = NeedProgress { field in
            // Of most nothing but what was recorded is there.
            guard !isUntouched,
                let version = versions.first(where: { $0.field == field.rawValue })
            else { return Register() }
            return Register(live: [
                Version(
                    value: version.value.content, stamp: version.stamp,
                    sequence: version.sequence, clock: ShortClock(base: 0))
            ])
        }
        status = progress.status
        order = progress.dispatch?.order
        team = progress.dispatch?.team
        isOwn = false
        content = [:]
        conflicts = []
    }
}

extension News {
    /// Adds what became of one need.
    mutating func compare(
        _ id: RecordID, before: Glimpse?, after: Glimpse?, identity: Identity?
    ) {
        guard let after else {
            if before != nil { departed.append(id) }
            return
        }
        let isMine = identity?.role == .team && after.team == identity?.team
        if isMine, after.order != nil, !after.status.isClosed,
            before?.order != after.order || before?.team != after.team
        {
            newJobs.append(id)
        }
        guard let before else {
            if !after.isOwn, after.status != .withdrawn { newNeeds.append(id) }
            if !after.conflicts.isEmpty { newConflicts.append(id) }
            return
        }
        if before.status != after.status || before.order != after.order {
            if before.status == .withdrawn { restored.append(id) }
            switch after.status {
            case .recorded: break
            case .dispatched: dispatched.append(id)
            case .accepted: accepted.append(id)
            case .declined: declined.append(id)
            case .started: started.append(id)
            case .finished: finished.append(id)
            case .rated: rated.append(id)
            case .withdrawn: withdrawn.append(id)
            }
        }
        if before.content != after.content { changed.append(id) }
        if !after.conflicts.subtracting(before.conflicts).isEmpty { newConflicts.append(id) }
        if !before.conflicts.subtracting(after.conflicts).isEmpty { settledConflicts.append(id) }
    }
}
