import SQLiteStore
import SimulatedDisk
import Testing

/// Disks copied, set back and looked into from outside.
@Suite struct ImageTests {
    private func insert(_ name: String, into connection: Connection) throws {
        try connection.run("INSERT INTO item (name) VALUES (?)", .text(name))
    }

    @Test func cloneLivesOnByItself() throws {
        let disk = Disk(seed: 1)
        let connection = try disk.openWithItems()
        try insert("a", into: connection)
        let clone = Disk(seed: 2, image: disk.snapshot())
        let cloned = try clone.open()
        try insert("b", into: connection)
        try insert("c", into: cloned)
        #expect(try connection.itemNames == ["a", "b"])
        #expect(try cloned.itemNames == ["a", "c"])
    }

    @Test func olderCopyCanBeRestored() throws {
        let disk = Disk(seed: 1)
        let connection = try disk.openWithItems()
        try insert("a", into: connection)
        let copy = disk.snapshot()
        try insert("b", into: connection)
        disk.restore(copy)
        #expect(throws: SQLiteError.self) { try connection.itemNames }
        #expect(try disk.open().itemNames == ["a"])
    }

    @Test func restoredFilesAreDurable() throws {
        let disk = Disk(seed: 1)
        try insert("a", into: disk.openWithItems())
        disk.restore(disk.snapshot())
        let image = disk.snapshot()
        disk.crash(.powerLost)
        #expect(disk.snapshot() == image)
    }

    @Test func fingerprintTellsImagesApart() {
        var image = Disk.Image(files: ["/a": [1, 2]])
        let fingerprint = image.fingerprint
        image.files["/a"]?[1] = 3
        #expect(image.fingerprint != fingerprint)
        #expect(Disk.Image(files: ["/a": [1, 2]]).fingerprint == fingerprint)
    }

    @Test func filesAreListedInOrder() {
        let disk = Disk(seed: 1)
        for name in ["/b", "/a", "/c"] { disk.write([1], to: name) }
        #expect(disk.files() == ["/a", "/b", "/c"])
        #expect(disk.contents(of: "/a") == [1])
        #expect(disk.contents(of: "/d") == nil)
    }

    @Test func closedDiskIsUnknownToSQLite() {
        let disk = Disk(seed: 1)
        disk.close()
        #expect(throws: SQLiteError.self) { try disk.open() }
    }
}
