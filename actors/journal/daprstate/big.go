package daprstate

import (
	"bytes"
	"context"
	"crypto/rand"
)

// partBytes is how much of something big is in one key.
const partBytes = 512 << 10

// big stands for bytes that have keys of their own. They are written before the record that refers to them, under a name
// that nobody else has: until that record is saved, nobody reads them.
type big struct {
	name string // empty for none
	size int
}

// data is some bytes, in the record itself or apart.
type data struct {
	inline []byte
	big    big
}

func (e *encoder) content(v data) {
	e.text(v.big.name)
	if v.big.name != "" {
		e.number(int64(v.big.size))
		return
	}
	e.bytes(v.inline)
}

func (d *decoder) content() data {
	if name := d.text(); name != "" {
		size := d.number()
		if size < 0 || size > maxBigBytes {
			d.fail()
		}
		return data{big: big{name, int(size)}}
	}
	return data{inline: d.bytes()}
}

// maxBigBytes is more than anything that is written.
const maxBigBytes = 1 << 30

// keys of the parts.
func (j *Journal) bigKeys(b big) []string {
	if b.name == "" {
		return nil
	}
	keys := make([]string, 0, b.size/partBytes+1)
	for n := 0; n == 0 || n*partBytes < b.size; n++ {
		keys = append(keys, j.partKey(b.name, n))
	}
	return keys
}

// parts collects what has to be put before a record that refers to it is saved.
type parts struct {
	j     *Journal
	items []Item
}

// keep returns the bytes as they are to be encoded: apart if they are longer than limit.
func (p *parts) keep(value []byte, limit int) data {
	if len(value) <= limit {
		return data{inline: value}
	}
	b := big{rand.Text(), len(value)}
	for n, key := range p.j.bigKeys(b) {
		p.items = append(p.items, Item{Key: key, Value: value[n*partBytes : min(len(value), (n+1)*partBytes)]})
	}
	return data{big: b}
}

func (p *parts) put(ctx context.Context) error { return p.j.put(ctx, p.items) }

// discard takes back what was put for a record that was certainly not saved.
func (p *parts) discard() {
	keys := make([]string, 0, len(p.items))
	for _, item := range p.items {
		keys = append(keys, item.Key)
	}
	p.j.discard(keys)
}

// fill reads the bytes that are apart into inline, a bounded number of them at a time. What is missing becomes nil: the
// checksum above it will tell.
func (j *Journal) fill(ctx context.Context, values []*data) error {
	var keys []string
	var owners []*data
	flush := func() error {
		items, err := j.get(ctx, keys)
		if err != nil {
			return err
		}
		got := map[*data]*bytes.Buffer{}
		broken := map[*data]bool{}
		for i, item := range items {
			v := owners[i]
			if got[v] == nil {
				got[v] = &bytes.Buffer{}
			}
			got[v].Write(item.Value)
			broken[v] = broken[v] || item.ETag == ""
		}
		for v, b := range got {
			if v.inline = nil; !broken[v] && b.Len() == v.big.size {
				v.inline = b.Bytes()
			}
		}
		keys, owners = nil, nil
		return nil
	}
	size := 0
	for _, v := range values {
		if v.big.name == "" {
			continue
		}
		own := j.bigKeys(v.big)
		if v.big.size > messageBytes { // in pieces
			if err := j.fillHuge(ctx, v, own); err != nil {
				return err
			}
			continue
		}
		if size+v.big.size > messageBytes && len(keys) > 0 {
			if err := flush(); err != nil {
				return err
			}
			size = 0
		}
		size += v.big.size
		for _, key := range own {
			keys, owners = append(keys, key), append(owners, v)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return flush()
}

func (j *Journal) fillHuge(ctx context.Context, v *data, keys []string) error {
	whole := make([]byte, 0, v.big.size)
	for len(keys) > 0 {
		n := min(len(keys), messageBytes/partBytes)
		items, err := j.get(ctx, keys[:n])
		if err != nil {
			return err
		}
		for _, item := range items {
			whole = append(whole, item.Value...)
		}
		keys = keys[n:]
	}
	if v.inline = nil; len(whole) == v.big.size {
		v.inline = whole
	}
	return nil
}
