import SQLiteStore

// What no device holds, and so cannot bring back after a restore, is carried over from the ledger
// that the backup replaces: who may come, whose replica is whose, which codes were used, and the
// routes. As long as the former ledger can be read, a restore gives nobody an access that had
// ended, and takes none from whoever had one.

/// What a restore took over from the former ledger.
package struct CarriedOver: Hashable, Sendable {
    /// Devices that were enrolled after the backup; they go on with the token that they have.
    package var devices = 0
    /// Such devices whose number means another device in the backup; they need a new code.
    package var devicesLeftOut = 0
    /// Devices that were revoked after the backup.
    package var revocations = 0
    /// Codes that were given out, or used, after the backup.
    package var codes = 0
    /// Routes that were imported after the backup.
    package var routes = 0
}

/// The part of a ledger that is the operator's alone.
struct OperatorData {
    struct Device {
        var id: Int64
        var name: String
        var role: Int64
        var territory: String
        var team: String
        var tokenHash: [UInt8]
        var enrolledMilliseconds: Int64
        var revokedMilliseconds: Int64?
        var lastSyncMilliseconds: Int64?
        var refusedGroups: Int64
        /// When it got its present token.
        var renewedMilliseconds: Int64
    }

    struct Invite {
        var codeHash: [UInt8]
        var name: String
        var role: Int64
        var territory: String
        var team: String
        var expiresMilliseconds: Int64
        var usedMilliseconds: Int64?
        var device: Int64?
        var replica: Int64?
    }

    struct Replica {
        var id: Int64
        var device: Int64?
        var ancestors: [UInt8]
    }

    var devices: [Device]
    var invites: [Invite]
    var replicas: [Replica]
    var routes: [RouteRow]

    /// - Parameter connection: To a ledger of any version that we know.
    init(_ connection: Connection) throws {
        // A role that there is not would stop whoever reads the row later.
        devices = try connection.all(
            """
            SELECT id, name, role, territory, team, token_hash, enrolled_milliseconds,
                revoked_milliseconds, last_sync_milliseconds, refused_groups,
                MAX(enrolled_milliseconds, COALESCE((SELECT MAX(used_milliseconds) FROM invite
                    WHERE invite.device = device.id), 0))
            FROM device WHERE role BETWEEN 1 AND 3 ORDER BY id
            """
        ) {
            Device(
                id: $0.integer(at: 0), name: $0.text(at: 1), role: $0.integer(at: 2),
                territory: $0.text(at: 3), team: $0.text(at: 4), tokenHash: $0.bytes(at: 5),
                enrolledMilliseconds: $0.integer(at: 6),
                revokedMilliseconds: $0.optionalInteger(at: 7),
                lastSyncMilliseconds: $0.optionalInteger(at: 8), refusedGroups: $0.integer(at: 9),
                renewedMilliseconds: $0.integer(at: 10))
        }
        invites = try connection.all(
            """
            SELECT code_hash, name, role, territory, team, expires_milliseconds,
                used_milliseconds, device, replica
            FROM invite WHERE role BETWEEN 1 AND 3
            """
        ) {
            Invite(
                codeHash: $0.bytes(at: 0), name: $0.text(at: 1), role: $0.integer(at: 2),
                territory: $0.text(at: 3), team: $0.text(at: 4),
                expiresMilliseconds: $0.integer(at: 5),
                usedMilliseconds: $0.optionalInteger(at: 6), device: $0.optionalInteger(at: 7),
                replica: $0.optionalInteger(at: 8))
        }
        replicas = try connection.all("SELECT id, device, ancestors FROM replica") {
            Replica(
                id: $0.integer(at: 0), device: $0.optionalInteger(at: 1),
                ancestors: $0.bytes(at: 2))
        }
        routes = try connection.all("SELECT category, territory, team, due_days FROM route") {
            RouteRow(
                category: $0.text(at: 0), territory: $0.text(at: 1), team: $0.text(at: 2),
                dueDays: $0.optionalInteger(at: 3))
        }
    }

    /// - Returns: `nil` when there is nothing that could be read whole.
    static func read(at path: String) -> OperatorData? {
        do {
            let connection = try Connection(path: path, mode: .readWrite)
            let newest = LedgerSchema.steps.last?.version ?? 0
            guard try connection.applicationID == LedgerSchema.applicationID,
                (1...newest).contains(try connection.userVersion)
            else { return nil }
            return try OperatorData(connection)
        } catch { return nil }
    }

    /// Carries this over into a restored ledger, all or nothing of it.
    func carry(into connection: Connection) throws -> CarriedOver {
        try connection.transaction {
            let present = try OperatorData(connection)
            var carried = CarriedOver()
            let known = try carryDevices(into: connection, beside: present, &carried)
            try carryInvites(into: connection, beside: present, known: known, &carried)
            try carryReplicas(into: connection, beside: present, known: known)
            let routes = Set(present.routes)
            for route in self.routes where !routes.contains(route) {
                try connection.run(
                    "INSERT OR REPLACE INTO route VALUES (?, ?, ?, ?)", .text(route.category),
                    .text(route.territory), .text(route.team), SQLValue(route.dueDays))
                carried.routes += 1
            }
            return carried
        }
    }

    /// - Returns: The numbers that mean the same device in both.
    private func carryDevices(
        into connection: Connection, beside present: OperatorData, _ carried: inout CarriedOver
    ) throws -> Set<Int64> {
        let presentDevices = Dictionary(
            present.devices.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        var known: Set<Int64> = []
        for device in devices {
            guard let other = presentDevices[device.id] else {
                try insert(device, into: connection)
                known.insert(device.id)
                carried.devices += 1
                continue
            }
            // Another line of restores has given the number to somebody else.
            guard other.enrolledMilliseconds == device.enrolledMilliseconds else {
                carried.devicesLeftOut += 1
                continue
            }
            known.insert(device.id)
            // Whoever got the newer token has the machine; the older one may be stolen.
            let holder =
                device.renewedMilliseconds >= other.renewedMilliseconds ? device : other
            let revoked = [device.revokedMilliseconds, other.revokedMilliseconds]
                .compactMap { $0 }.filter { $0 >= holder.renewedMilliseconds }.max()
            if revoked != nil, other.revokedMilliseconds == nil { carried.revocations += 1 }
            try connection.run(
                """
                UPDATE device SET token_hash = ?, revoked_milliseconds = ?,
                    last_sync_milliseconds = ?, refused_groups = ? WHERE id = ?
                """, .bytes(holder.tokenHash), SQLValue(revoked),
                SQLValue(
                    [device.lastSyncMilliseconds, other.lastSyncMilliseconds]
                        .compactMap { $0 }.max()),
                .integer(max(device.refusedGroups, other.refusedGroups)), .integer(device.id))
        }
        return known
    }

    private func insert(_ device: Device, into connection: Connection) throws {
        try connection.run(
            """
            INSERT INTO device (id, name, role, territory, team, token_hash,
                enrolled_milliseconds, revoked_milliseconds, last_sync_milliseconds,
                refused_groups)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """, .integer(device.id), .text(device.name), .integer(device.role),
            .text(device.territory), .text(device.team), .bytes(device.tokenHash),
            .integer(device.enrolledMilliseconds), SQLValue(device.revokedMilliseconds),
            SQLValue(device.lastSyncMilliseconds), .integer(device.refusedGroups))
    }

    private func carryInvites(
        into connection: Connection, beside present: OperatorData, known: Set<Int64>,
        _ carried: inout CarriedOver
    ) throws {
        let presentInvites = Dictionary(
            present.invites.map { ($0.codeHash, $0) }, uniquingKeysWith: { first, _ in first })
        for invite in invites {
            // A code whose device is not there is used all the same, and gets nobody a token.
            let device = invite.device.flatMap { known.contains($0) ? $0 : nil }
            if let other = presentInvites[invite.codeHash] {
                guard other.usedMilliseconds == nil, let used = invite.usedMilliseconds else {
                    continue
                }
                try connection.run(
                    """
                    UPDATE invite SET used_milliseconds = ?, device = ?, replica = ?
                    WHERE code_hash = ?
                    """, .integer(used), SQLValue(device), SQLValue(invite.replica),
                    .bytes(invite.codeHash))
            } else {
                try connection.run(
                    """
                    INSERT INTO invite (code_hash, name, role, territory, team,
                        expires_milliseconds, used_milliseconds, device, replica)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                    """, .bytes(invite.codeHash), .text(invite.name), .integer(invite.role),
                    .text(invite.territory), .text(invite.team),
                    .integer(invite.expiresMilliseconds), SQLValue(invite.usedMilliseconds),
                    SQLValue(device), SQLValue(invite.replica))
            }
            carried.codes += 1
        }
    }

    /// Keeps the names under what devices will bring back, also of writers who do not come again.
    private func carryReplicas(
        into connection: Connection, beside present: OperatorData, known: Set<Int64>
    ) throws {
        let presentReplicas = Dictionary(
            present.replicas.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        for replica in replicas {
            guard let device = replica.device, known.contains(device) else { continue }
            guard let other = presentReplicas[replica.id] else {
                // It has written nothing here yet.
                try connection.run(
                    "INSERT INTO replica (id, device, next_counter, ancestors) VALUES (?, ?, 1, ?)",
                    .integer(replica.id), .integer(device), .bytes(replica.ancestors))
                continue
            }
            if other.device == nil {
                try connection.run(
                    """
                    UPDATE replica SET device = ?, ancestors = ?
                    WHERE id = ? AND id NOT IN (SELECT id FROM term)
                    """, .integer(device), .bytes(replica.ancestors), .integer(replica.id))
            }
        }
    }

    /// Ends all codes that are still open, since nobody knows which of them were used.
    ///
    /// - Returns: How many.
    static func endOpenCodes(in connection: Connection, at milliseconds: Int64) throws -> Int {
        try connection.run(
            """
            UPDATE invite SET used_milliseconds = ?1
            WHERE used_milliseconds IS NULL AND expires_milliseconds > ?1
            """, .integer(milliseconds))
        return connection.changes
    }
}
