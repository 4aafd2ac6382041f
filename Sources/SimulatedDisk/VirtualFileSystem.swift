// The functions through which SQLite calls a `Disk` and its `OpenFile`s.

import CSQLite

/// What SQLite allocates for an open file: its own part, then ours. The opening is retained until
/// it is closed.
private struct FileSlot {
    var base: sqlite3_file
    var opening: Unmanaged<OpenFile>
}

private func opening(_ file: UnsafeMutablePointer<sqlite3_file>?) -> OpenFile {
    UnsafeRawPointer(file!).assumingMemoryBound(to: FileSlot.self).pointee.opening
        .takeUnretainedValue()
}

private func disk(_ vfs: UnsafeMutablePointer<sqlite3_vfs>?) -> Disk {
    Unmanaged<Disk>.fromOpaque(vfs!.pointee.pAppData).takeUnretainedValue()
}

/// One table for all files, never freed and never changed.
private nonisolated(unsafe) let methods: UnsafePointer<sqlite3_io_methods> = {
    let methods = UnsafeMutablePointer<sqlite3_io_methods>.allocate(capacity: 1)
    var table = sqlite3_io_methods()
    table.iVersion = 2
    table.xClose = { file in
        UnsafeRawPointer(file!).assumingMemoryBound(to: FileSlot.self).pointee.opening
            .takeRetainedValue().close()
        return SQLITE_OK
    }
    table.xRead = { file, bytes, count, offset in
        opening(file).read(
            into: UnsafeMutableRawBufferPointer(start: bytes, count: Int(count)),
            offset: Int(offset))
    }
    table.xWrite = { file, bytes, count, offset in
        opening(file).write(
            UnsafeRawBufferPointer(start: bytes, count: Int(count)), offset: Int(offset))
    }
    table.xTruncate = { file, byteCount in opening(file).truncate(to: Int(byteCount)) }
    table.xSync = { file, _ in opening(file).sync() }
    table.xFileSize = { file, byteCount in opening(file).size(&byteCount!.pointee) }
    table.xLock = { file, level in opening(file).lock(level) }
    table.xUnlock = { file, level in opening(file).unlock(to: level) }
    table.xCheckReservedLock = { file, result in
        opening(file).checkReservedLock(&result!.pointee)
    }
    table.xFileControl = { file, operation, argument in
        opening(file).control(operation, argument)
    }
    table.xSectorSize = { _ in Int32(Disk.sectorByteCount) }
    table.xDeviceCharacteristics = { _ in SQLITE_IOCAP_POWERSAFE_OVERWRITE }
    table.xShmMap = { file, region, byteCount, extends, address in
        var mapped: UnsafeMutableRawPointer?
        let code = opening(file).mapSharedMemory(
            region: Int(region), byteCount: Int(byteCount), extends: extends != 0, &mapped)
        UnsafeMutableRawPointer(address!)
            .assumingMemoryBound(to: UnsafeMutableRawPointer?.self).pointee = mapped
        return code
    }
    table.xShmLock = { file, first, count, flags in
        opening(file).lockSharedMemory(first: Int(first), count: Int(count), flags: flags)
    }
    table.xShmBarrier = { _ in }  // There is one thread.
    table.xShmUnmap = { file, _ in opening(file).unmapSharedMemory() }
    methods.initialize(to: table)
    return UnsafePointer(methods)
}()

extension Disk {
    /// Fills in the table that SQLite is given; it lives as long as the disk.
    ///
    /// - Parameter name: Lives as long, too.
    func initializeVFS(name: UnsafePointer<CChar>) {
        var table = sqlite3_vfs()
        table.iVersion = 2
        table.szOsFile = Int32(MemoryLayout<FileSlot>.size)
        table.mxPathname = 512
        table.zName = name
        table.pAppData = Unmanaged.passUnretained(self).toOpaque()
        table.xOpen = { vfs, name, file, flags, flagsInForce in
            let file = file!
            file.pointee.pMethods = nil  // Until it is open there is nothing to close.
            var opened: OpenFile?
            let code = disk(vfs).open(name.map { String(cString: $0) }, flags: flags, &opened)
            if let opened {
                UnsafeMutableRawPointer(file).initializeMemory(
                    as: FileSlot.self,
                    to: FileSlot(
                        base: sqlite3_file(pMethods: methods),
                        opening: Unmanaged.passRetained(opened)))
                flagsInForce?.pointee = flags
            }
            return code
        }
        table.xDelete = { vfs, name, syncsDirectory in
            disk(vfs).delete(String(cString: name!), syncsDirectory: syncsDirectory != 0)
        }
        table.xAccess = { vfs, name, flags, result in
            disk(vfs).access(String(cString: name!), flags: flags, &result!.pointee)
        }
        table.xFullPathname = { _, name, capacity, result in
            // Every path is taken as it is.
            let bytes = UnsafeBufferPointer(start: name!, count: Int(capacity))
            guard let end = bytes.firstIndex(of: 0) else { return SQLITE_CANTOPEN }
            result!.update(from: name!, count: end + 1)
            return SQLITE_OK
        }
        table.xRandomness = { vfs, count, bytes in
            let disk = disk(vfs)
            for index in 0..<Int(count) {
                bytes![index] = CChar(truncatingIfNeeded: disk.nextNoise())
            }
            return count
        }
        table.xSleep = { vfs, microseconds in
            disk(vfs).sleep(Int(microseconds))
            return microseconds
        }
        table.xCurrentTime = { vfs, days in
            days!.pointee = Double(disk(vfs).julianMilliseconds) / 86_400_000
            return SQLITE_OK
        }
        table.xCurrentTimeInt64 = { vfs, milliseconds in
            milliseconds!.pointee = disk(vfs).julianMilliseconds
            return SQLITE_OK
        }
        table.xGetLastError = { vfs, _, _ in disk(vfs).systemErrorNumber }
        vfs.initialize(to: table)
    }

    /// SQLite counts from noon in Greenwich on 24 November 4714 BC.
    private var julianMilliseconds: Int64 { clock() &+ 210_866_760_000_000 }

    private func open(_ name: String?, flags: Int32, _ opened: inout OpenFile?) -> Int32 {
        guard !isDown else { return refuse(SQLITE_IOERR, SystemError.inputOutput) }
        let creates = flags & SQLITE_OPEN_CREATE != 0
        let file: StoredFile
        if let name, let existing = names[name] {
            guard !creates || flags & SQLITE_OPEN_EXCLUSIVE == 0 else {
                return refuse(SQLITE_CANTOPEN, SystemError.exists)
            }
            file = existing
        } else {
            guard name == nil || creates else {
                return refuse(SQLITE_CANTOPEN, SystemError.noEntry)
            }
            let fault = beginStep()
            if let fault {
                // The file may be there all the same.
                if let name, tossCoin() { _ = create(name) }
                return fail(fault, ioError: SQLITE_CANTOPEN, full: SQLITE_CANTOPEN)
            }
            file = create(name)
        }
        // As the Unix VFS does: for these, even if the file was there already.
        let kinds = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL
        opened = OpenFile(
            disk: self, file: file, name: name, syncsDirectory: creates && flags & kinds != 0)
        if let name, flags & SQLITE_OPEN_DELETEONCLOSE != 0 { unlink(name) }
        return SQLITE_OK
    }

    private func delete(_ name: String, syncsDirectory: Bool) -> Int32 {
        guard !isDown else { return refuse(ExtendedCode.delete, SystemError.inputOutput) }
        guard names[name] != nil else {
            return refuse(ExtendedCode.deleteMissing, SystemError.noEntry)
        }
        let fault = beginStep()
        if fault == nil || tossCoin() { unlink(name) }
        if let fault {
            return fail(fault, ioError: ExtendedCode.delete, full: ExtendedCode.delete)
        }
        if syncsDirectory { syncDirectory(of: name) }
        return SQLITE_OK
    }

    private func access(_ name: String, flags: Int32, _ result: inout Int32) -> Int32 {
        guard !isDown else { return refuse(ExtendedCode.access, SystemError.inputOutput) }
        // The Unix VFS takes an empty file for none when asked whether it exists.
        let isThere = names[name].map { flags != SQLITE_ACCESS_EXISTS || $0.byteCount > 0 }
        result = isThere ?? false ? 1 : 0
        return SQLITE_OK
    }

    private func refuse(_ code: Int32, _ systemErrorNumber: Int32) -> Int32 {
        self.systemErrorNumber = systemErrorNumber
        return code
    }
}
