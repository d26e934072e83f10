// Package pack is the format of pack files: a header, then records one after the
// other, each describing itself. It is pure: bytes in, bytes out.
//
// All numbers are little-endian.
//
//	header, 32 bytes:  "LSPACK\r\n", version u32 = 1, number u64, zero [8], CRC-32C of these 28 bytes u32
//	record, 56 + n:    "LsR1", kind u8, flags u8, zero u16, raw length u32, stored length n u32,
//	                   ID [32], CRC-32C of the payload u32, CRC-32C of these 52 bytes u32, payload [n]
//
// Flag 1: the payload is a zstd frame. The pack's number is that of its name, so
// that a misplaced file is noticed.
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	// HeaderLen is the length of a pack's header in bytes.
	HeaderLen = 32
	// RecordHeaderLen is the length of a record before its payload.
	RecordHeaderLen = 56
	// FlagZstd says that the payload is a zstd frame of the object.
	FlagZstd = 1

	version     = 1
	fileMagic   = "LSPACK\r\n"
	recordMagic = "LsR1"
)

var (
	// ErrHeader is matched when a pack does not begin with a sound header.
	ErrHeader = errors.New("not a sound pack header")
	// ErrVersion is matched when the pack was written by a newer version.
	ErrVersion = errors.New("pack of a version that this program does not know")
	// ErrRecord is matched when there is no sound record header.
	ErrRecord = errors.New("not a sound pack record")
	// ErrPayload is matched when a payload is not what its record's checksum says.
	ErrPayload = errors.New("pack record's payload is damaged")
)

var table = crc32.MakeTable(crc32.Castagnoli)

// AppendHeader appends the header of pack number n to b.
func AppendHeader(b []byte, n uint64) []byte {
	i := len(b)
	b = append(b, fileMagic...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, n)
	b = append(b, make([]byte, 8)...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[i:], table))
}

// CheckHeader reads the header in the first HeaderLen bytes of b and returns the
// pack's number.
func CheckHeader(b []byte) (uint64, error) {
	if len(b) < HeaderLen || string(b[:8]) != fileMagic ||
		crc32.Checksum(b[:HeaderLen-4], table) != binary.LittleEndian.Uint32(b[HeaderLen-4:]) {
		return 0, ErrHeader
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return 0, fmt.Errorf("%w: %d", ErrVersion, v)
	}
	return binary.LittleEndian.Uint64(b[12:]), nil
}

// Record is what a record's header says.
type Record struct {
	Kind   uint8
	Flags  uint8
	Raw    uint32 // length of the object in bytes
	Stored uint32 // length of the payload
	ID     id.Digest
	Sum    uint32 // CRC-32C of the payload
}

// Len is the length of the whole record in bytes.
func (r Record) Len() int64 { return RecordHeaderLen + int64(r.Stored) }

// Zstd reports whether the payload is compressed.
func (r Record) Zstd() bool { return r.Flags&FlagZstd != 0 }

// CheckPayload reports ErrPayload where p is not the record's payload.
func (r Record) CheckPayload(p []byte) error {
	if len(p) != int(r.Stored) || crc32.Checksum(p, table) != r.Sum {
		return ErrPayload
	}
	return nil
}

// Checksum is the CRC-32C of a payload, for Record.Sum.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, table) }

// Put writes r's header into b[:RecordHeaderLen].
func (r Record) Put(b []byte) {
	b = b[:RecordHeaderLen]
	copy(b, recordMagic)
	b[4], b[5], b[6], b[7] = r.Kind, r.Flags, 0, 0
	binary.LittleEndian.PutUint32(b[8:], r.Raw)
	binary.LittleEndian.PutUint32(b[12:], r.Stored)
	copy(b[16:48], r.ID[:])
	binary.LittleEndian.PutUint32(b[48:], r.Sum)
	binary.LittleEndian.PutUint32(b[52:], crc32.Checksum(b[:52], table))
}

// ParseRecord reads the record header in the first RecordHeaderLen bytes of b. A
// kind that is not known has max return 0. A raw or stored length of 0 or above
// max, an unknown flag, a stored length above the raw one are ErrRecord too.
func ParseRecord(b []byte, max func(kind uint8) int) (Record, error) {
	if len(b) < RecordHeaderLen || string(b[:4]) != recordMagic ||
		crc32.Checksum(b[:52], table) != binary.LittleEndian.Uint32(b[52:56]) {
		return Record{}, ErrRecord
	}
	r := Record{
		Kind: b[4], Flags: b[5],
		Raw:    binary.LittleEndian.Uint32(b[8:]),
		Stored: binary.LittleEndian.Uint32(b[12:]),
		ID:     id.Digest(b[16:48]),
		Sum:    binary.LittleEndian.Uint32(b[48:]),
	}
	switch {
	case r.Flags&^FlagZstd != 0, b[6] != 0, b[7] != 0:
		return Record{}, fmt.Errorf("%w: unknown flags", ErrRecord)
	case r.Raw == 0 || int64(r.Raw) > int64(max(r.Kind)):
		return Record{}, fmt.Errorf("%w: kind %d with %d bytes", ErrRecord, r.Kind, r.Raw)
	case r.Zstd() && (r.Stored == 0 || r.Stored >= r.Raw), !r.Zstd() && r.Stored != r.Raw:
		return Record{}, fmt.Errorf("%w: %d bytes stored as %d", ErrRecord, r.Raw, r.Stored)
	}
	return r, nil
}
