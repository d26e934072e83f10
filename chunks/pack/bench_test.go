package pack

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lockstep-sync/lockstep/internal/id"
)

const (
	benchPack = 64 << 20
	chunkKind = 1
)

func benchRecords(size int) (payload []byte, n int) {
	payload = make([]byte, size)
	for i := range payload {
		payload[i] = byte(i * i >> 3)
	}
	return payload, benchPack / (size + RecordHeaderLen)
}

func appendRecord(b, payload []byte, d id.Digest) []byte {
	r := Record{Kind: chunkKind, Raw: uint32(len(payload)), Stored: uint32(len(payload)), ID: d, Sum: Checksum(payload)}
	i := len(b)
	b = append(b, make([]byte, RecordHeaderLen)...)
	r.Put(b[i:])
	return append(b, payload...)
}

// BenchmarkPackWrite fills a pack in memory with records.
func BenchmarkPackWrite(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			payload, n := benchRecords(size)
			buf := make([]byte, 0, benchPack+HeaderLen)
			b.SetBytes(int64(n * size))
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendHeader(buf[:0], 1)
				for i := range n {
					buf = appendRecord(buf, payload, id.Digest{byte(i), byte(i >> 8)})
				}
			}
			b.ReportMetric(float64(n), "records/op")
		})
	}
}

// BenchmarkPackRead scans a pack in memory, as a recovery does, checksums and all.
func BenchmarkPackRead(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			payload, n := benchRecords(size)
			buf := AppendHeader(nil, 1)
			for i := range n {
				buf = appendRecord(buf, payload, id.Digest{byte(i), byte(i >> 8)})
			}
			b.SetBytes(int64(n * size))
			b.ReportAllocs()
			for b.Loop() {
				found := 0
				_, err := Scan(bytes.NewReader(buf), HeaderLen, int64(len(buf)), func(uint8) int { return size }, func(Found) error { found++; return nil })
				if err != nil || found != n {
					b.Fatal(found, err)
				}
			}
			b.ReportMetric(float64(n), "records/op")
		})
	}
}
