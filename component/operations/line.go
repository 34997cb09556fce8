package operations

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// formatVersion of exports. A reader takes the versions up to its own.
const formatVersion = 1

// maxLine is far above what an event or a cell comes to that a journal takes.
const maxLine = 3 << 30

// crcField stands at the end of each line, behind whatever else there is. Eight digits and the end of the object follow.
const crcField = `,"crc":"`

// kindField stands at the beginning of each line.
const kindField = `{"kind":"`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chain is what has gone before in an export: how much, and its checksums.
type chain struct {
	bytes, lines int64
	crc          string
	sum          hash.Hash
	counts       map[string]int64
}

func newChain() chain { return chain{sum: sha256.New(), counts: map[string]int64{}} }

// add a line that has its checksum.
func (c *chain) add(line []byte, crc, kind string) {
	_, _ = c.sum.Write(line) // never fails
	c.bytes += int64(len(line))
	c.lines++
	c.crc = crc
	c.counts[kind]++
}

func (c *chain) digest() string { return hex.EncodeToString(c.sum.Sum(nil)) }

// checksum of a line up to its crc.
func (c *chain) checksum(body []byte) string {
	sum := crc32.Update(crc32.Update(0, castagnoli, []byte(c.crc)), castagnoli, body)
	return fmt.Sprintf("%08x", sum)
}

// line is what all lines of an export have: the kind says what the line is about.
type line struct {
	Kind string `json:"kind"`
}

// The kinds of lines.
const (
	kindJournal  = "journal"
	kindCursor   = "cursor"
	kindEvent    = "event"
	kindCut      = "cut"
	kindStream   = "stream"
	kindSnapshot = "snapshot"
	kindRecord   = "record"
	kindEffect   = "effect"
	kindGroup    = "group"
	kindCell     = "cell"
	kindEnd      = "end"
)

// lineWriter writes lines with their checksums.
type lineWriter struct {
	to    *bufio.Writer
	chain chain
	line  bytes.Buffer
	json  *json.Encoder
}

func newLineWriter(to io.Writer, from chain) *lineWriter {
	w := &lineWriter{to: bufio.NewWriterSize(to, 256<<10), chain: from}
	w.json = json.NewEncoder(&w.line)
	w.json.SetEscapeHTML(false)
	return w
}

// write a line, which is an object.
func (w *lineWriter) write(kind string, v any) error {
	w.line.Reset()
	if err := w.json.Encode(v); err != nil {
		return fmt.Errorf("write line %d (%s): %w", w.chain.lines+1, kind, err)
	}
	w.line.Truncate(w.line.Len() - 2) // "}\n"
	crc := w.chain.checksum(w.line.Bytes())
	w.line.WriteString(crcField + crc + "\"}\n")
	if _, err := w.to.Write(w.line.Bytes()); err != nil {
		return fmt.Errorf("write line %d: %w", w.chain.lines+1, err)
	}
	w.chain.add(w.line.Bytes(), crc, kind)
	return nil
}

// lineReader reads lines and checks them.
type lineReader struct {
	from  *bufio.Reader
	chain chain
	line  []byte
	body  []byte // of the line, without its checksum
}

func newLineReader(from io.Reader) *lineReader {
	return &lineReader{from: bufio.NewReaderSize(from, 256<<10), chain: newChain()}
}

// DamagedError says where an export is not what was written. It matches ErrDamaged.
type DamagedError struct {
	// Line counts from 1; Offset is that of its first byte.
	Line, Offset int64
	Reason       string
	// Torn says that the export ends in the middle of a line, or before its end.
	Torn bool
}

func (e *DamagedError) Error() string {
	what := "damaged"
	if e.Torn {
		what = "incomplete"
	}
	return fmt.Sprintf("the export is %s at line %d (byte %d): %s", what, e.Line, e.Offset, e.Reason)
}

// Is makes it match ErrDamaged.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }

// damaged is about the line that was read last, or is to be read.
func (r *lineReader) damaged(torn bool, format string, args ...any) error {
	return &DamagedError{Line: r.chain.lines + 1, Offset: r.chain.bytes, Reason: fmt.Sprintf(format, args...), Torn: torn}
}

// next reads a line, and returns its kind and itself without the checksum, as long as next is not called again. io.EOF is
// the end between two lines.
func (r *lineReader) next() (kind string, body []byte, err error) {
	r.line = r.line[:0]
	for {
		part, err := r.from.ReadSlice('\n')
		r.line = append(r.line, part...)
		switch {
		case err == nil:
			return r.check()
		case errors.Is(err, io.EOF) && len(r.line) == 0:
			return "", nil, io.EOF
		case errors.Is(err, io.EOF):
			return "", nil, r.damaged(true, "it ends in the middle of a line")
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", nil, fmt.Errorf("read line %d (byte %d): %w", r.chain.lines+1, r.chain.bytes, err)
		case len(r.line) > maxLine:
			return "", nil, r.damaged(false, "the line is longer than %d bytes", maxLine)
		}
	}
}

func (r *lineReader) check() (kind string, body []byte, err error) {
	at := len(r.line) - len(crcField) - len("12345678\"}\n")
	if at < 0 || string(r.line[at:at+len(crcField)]) != crcField || string(r.line[len(r.line)-3:]) != "\"}\n" {
		if r.chain.lines == 0 {
			return "", nil, r.damaged(false, "it is no export of a journal")
		}
		return "", nil, r.damaged(false, "the line does not end with a checksum")
	}
	if crc := string(r.line[at+len(crcField) : len(r.line)-3]); crc != r.chain.checksum(r.line[:at]) {
		return "", nil, r.damaged(false, "the line, or the one before it, is not the one that was written there: its checksum is %s, not %s", r.chain.checksum(r.line[:at]), crc)
	}
	r.body = append(append(r.body[:0], r.line[:at]...), '}')
	rest, ok := bytes.CutPrefix(r.body, []byte(kindField))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 1 {
		return "", nil, r.damaged(false, "the line does not begin with its kind")
	}
	kind = string(rest[:end])
	r.chain.add(r.line, string(r.line[at+len(crcField):len(r.line)-3]), kind)
	return kind, r.body, nil
}

// decode what next returned.
func (r *lineReader) decode(v any) error {
	if err := json.Unmarshal(r.body, v); err != nil {
		return r.wrong("it cannot be read: %v", err)
	}
	return nil
}

// wrong is about the line that next has returned: it is what was written, but not what can be.
func (r *lineReader) wrong(format string, args ...any) error {
	return &DamagedError{Line: r.chain.lines, Offset: r.chain.bytes - int64(len(r.line)), Reason: fmt.Sprintf(format, args...)}
}
