import NeedModel
import Testing

@Suite struct TerritoryTests {
    private static let rows =
        [
            ("1508", .banner, nil), ("150801", .town, "1508"), ("150802", .town, "1508"),
            ("150801001", .village, "150801"), ("150801002", .village, "150801"),
            ("15080100101", .grid, "150801001"), ("15080100102", .grid, "150801001"),
            ("15080100201", .grid, "150801002"), ("15080200101", .grid, "150802"),
        ] as [(String, TerritoryLevel, String?)]

    private let tree = TerritoryTree(
        Self.rows.reversed().map {
            Territory(code: $0.0, name: "名\($0.0)", level: $0.1, parent: $0.2)
        })

    @Test func pathsLeadUpToTheBanner() {
        #expect(
            tree.pathUp(from: "15080100101").map(\.code)
                == ["15080100101", "150801001", "150801", "1508"])
        #expect(tree.pathUp(from: "1508").map(\.code) == ["1508"])
        #expect(tree.pathUp(from: "nowhere").isEmpty)
    }

    @Test func aTerritoryHoldsTheGridsBelowIt() {
        #expect(
            tree.grids(within: "150801") == ["15080100101", "15080100102", "15080100201"])
        #expect(tree.grids(within: "1508").count == 4)
        #expect(tree.grids(within: "15080100101") == ["15080100101"])
        #expect(tree.grids(within: "nowhere").isEmpty)
    }

    @Test func onlyGridsAreGrids() {
        for (code, level, _) in Self.rows { #expect(tree.isGrid(code) == (level == .grid)) }
        #expect(!tree.isGrid("nowhere"))
        #expect(tree["150801"]?.name == "名150801")
    }

    /// A table whose parents run in a circle must not hang the hub.
    @Test func aCircleEnds() {
        let circle = TerritoryTree([
            Territory(code: "a", name: "", level: .town, parent: "b"),
            Territory(code: "b", name: "", level: .village, parent: "a"),
        ])
        #expect(circle.pathUp(from: "a").count == 4)
        #expect(circle.grids(within: "a").isEmpty)
    }
}

@Suite struct ScopeTests {
    @Test func bucketNamesRoundTrip() {
        for (bucket, name) in [
            (.reference, "*"), (.recordedBy(device: 7), "device/7"), (.team("T1"), "team/T1"),
            (.grid("152921001001"), "grid/152921001001"), (.team("电力"), "team/电力"),
        ] as [(Bucket, String)] {
            #expect(bucket.name == name)
            #expect(Bucket(name: name) == bucket)
        }
        for name in ["", "device/", "device/x", "device/9223372036854775808", "town/1", "GRID/1"] {
            #expect(Bucket(name: name) == nil, "\(name)")
        }
    }

    @Test func theSameBucketsInAnyOrderAreTheSameScope() {
        forEachSeed(500) { generator in
            let buckets: [Bucket] = (0..<generator.below(12)).map { _ in
                switch generator.below(4) {
                case 0: .reference
                case 1: .recordedBy(device: Int64(generator.below(20)))
                case 2: .team("T\(generator.below(5))")
                default: .grid("\(generator.below(20))")
                }
            }
            let one = Scope(buckets)
            let other = Scope((buckets + buckets.prefix(3)).shuffled(using: &generator))
            try check(one == other && one.id == other.id, "\(buckets)")
            try check(one.buckets == Set(buckets).sorted(), "sorted, once each")
            try check(buckets.allSatisfy { one.contains($0) }, "contains")
            try check((one.id == 0) == buckets.isEmpty, "0 is for nothing held")
        }
    }

    @Test func aRecordIsHeldThroughAnyOfItsBuckets() {
        let need = Placement(grid: "g1", team: "T1", device: 7)
        #expect(need.buckets == [.recordedBy(device: 7), .team("T1"), .grid("g1")])
        for bucket in need.buckets { #expect(Scope([bucket]).contains(need)) }
        #expect(!Scope([.reference, .grid("g2"), .team("T2")]).contains(need))
        #expect(!Scope.empty.contains(need))
        let reference = Placement(isReference: true, grid: "g1")
        #expect(reference.buckets == [.reference])
        #expect(Placement().buckets.isEmpty)
    }
}
