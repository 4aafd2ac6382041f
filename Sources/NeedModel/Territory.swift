import SyncCore

/// The levels of the territory, from the top.
package enum TerritoryLevel: String, Sendable, CaseIterable {
    case banner, town, village, grid
}

package struct Territory: Hashable, Sendable {
    package var code: String
    package var name: String
    package var level: TerritoryLevel
    /// The code of the territory above; `nil` for the banner.
    package var parent: String?

    package init(code: String, name: String, level: TerritoryLevel, parent: String?) {
        self.code = code
        self.name = name
        self.level = level
        self.parent = parent
    }
}

/// The banner's territory, by code.
package struct TerritoryTree: Sendable {
    private var byCode: [String: Territory] = [:]
    private var children: [String: [String]] = [:]

    package init(_ territories: [Territory]) {
        for territory in territories {
            byCode[territory.code] = territory
            if let parent = territory.parent {
                children[parent, default: []].append(territory.code)
            }
        }
        for code in children.keys { children[code]?.sort() }
    }

    package subscript(code: String) -> Territory? { byCode[code] }

    package func isGrid(_ code: String) -> Bool { byCode[code]?.level == .grid }

    /// The territory and those above it, nearest first; bounded by the number of levels.
    package func pathUp(from code: String) -> [Territory] {
        var path: [Territory] = []
        var next: String? = code
        while let code = next, let territory = byCode[code],
            path.count < TerritoryLevel.allCases.count
        {
            path.append(territory)
            next = territory.parent
        }
        return path
    }

    /// The codes of all grids in a territory, itself included, sorted.
    package func grids(within code: String) -> [String] {
        var result: [String] = []
        var queue = [code]
        var steps = 0
        // Each territory has one parent, so the walk ends; the bound guards against a bad table.
        while let next = queue.popLast(), steps <= byCode.count {
            steps += 1
            if isGrid(next) { result.append(next) }
            queue.append(contentsOf: children[next] ?? [])
        }
        return result.sorted()
    }
}

/// A set of records that a device may hold.
package enum Bucket: Hashable, Comparable, Sendable {
    /// Territory, teams, categories: for everyone.
    case reference
    /// The needs that one device recorded, wherever they lie.
    case recordedBy(device: Int64)
    case team(String)
    case grid(String)

    /// A stable text: `*`, `device/7`, `team/T1`, `grid/152921001001`.
    package var name: String {
        switch self {
        case .reference: "*"
        case .recordedBy(let device): "device/\(device)"
        case .team(let code): "team/\(code)"
        case .grid(let code): "grid/\(code)"
        }
    }

    package init?(name: String) {
        if name == "*" {
            self = .reference
        } else if name.hasPrefix("device/"), let device = Int64(name.dropFirst(7)) {
            self = .recordedBy(device: device)
        } else if name.hasPrefix("team/") {
            self = .team(String(name.dropFirst(5)))
        } else if name.hasPrefix("grid/") {
            self = .grid(String(name.dropFirst(5)))
        } else {
            return nil
        }
    }

    private var order: (Int, Int64, String) {
        switch self {
        case .reference: (0, 0, "")
        case .recordedBy(let device): (1, device, "")
        case .team(let code): (2, 0, code)
        case .grid(let code): (3, 0, code)
        }
    }

    package static func < (left: Bucket, right: Bucket) -> Bool { left.order < right.order }
}

/// Where a record lies: what decides who may hold it. A note lies where its need lies.
package struct Placement: Hashable, Sendable {
    package var isReference: Bool
    package var grid: String?
    /// The team of the current order.
    package var team: String?
    /// The device that created the record.
    package var device: Int64?

    package init(
        isReference: Bool = false, grid: String? = nil, team: String? = nil, device: Int64? = nil
    ) {
        self.isReference = isReference
        self.grid = grid
        self.team = team
        self.device = device
    }

    package var buckets: [Bucket] {
        if isReference { return [.reference] }
        var result: [Bucket] = []
        if let device { result.append(.recordedBy(device: device)) }
        if let team { result.append(.team(team)) }
        if let grid { result.append(.grid(grid)) }
        return result
    }
}

/// In which of a device's buckets a record lies; it can lie in one of each.
package struct HeldPlaces: OptionSet, Hashable, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let recorder = HeldPlaces(rawValue: 1)
    package static let team = HeldPlaces(rawValue: 2)
    package static let grid = HeldPlaces(rawValue: 4)
    package static let reference = HeldPlaces(rawValue: 8)
    private static let all: HeldPlaces = [.recorder, .team, .grid, .reference]

    /// How often the record's digest counts in the scope's.
    package var count: UInt64 { UInt64(intersection(Self.all).rawValue.nonzeroBitCount) }
}

/// The buckets that a device holds.
package struct Scope: Hashable, Sendable {
    /// Sorted, without repeats.
    package let buckets: [Bucket]
    /// Names the scope: equal sets have equal ids. Zero is kept for "nothing held".
    package let id: UInt64
    private let set: Set<Bucket>

    package init(_ buckets: [Bucket]) {
        set = Set(buckets)
        self.buckets = set.sorted()
        id = Self.id(of: self.buckets)
    }

    package static let empty = Scope([])

    package func contains(_ bucket: Bucket) -> Bool { set.contains(bucket) }

    package func contains(_ placement: Placement) -> Bool {
        placement.buckets.contains { set.contains($0) }
    }

    /// In which of the buckets a record lies.
    package func places(of placement: Placement) -> HeldPlaces {
        var places: HeldPlaces = []
        for bucket in placement.buckets where set.contains(bucket) {
            switch bucket {
            case .reference: places.insert(.reference)
            case .recordedBy: places.insert(.recorder)
            case .team: places.insert(.team)
            case .grid: places.insert(.grid)
            }
        }
        return places
    }

    private static func id(of buckets: [Bucket]) -> UInt64 {
        if buckets.isEmpty { return 0 }
        var hash = ContentHash()
        for bucket in buckets {
            hash.combine(Array(bucket.name.utf8))
            hash.combine([0])
        }
        return max(hash.value, 1)
    }
}
