package userfunction

import (
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// jsonField is the tag of the one field of a JSON envelope.
const jsonField = 1<<3 | byte(protowire.BytesType)

// fromAny takes JSON out of its envelope: a message of nothing but field 1 with the text. Whatever is not byte for byte
// what toAny would make stays as it is, so that every value goes back to the user function as it came.
func fromAny(a *anypb.Any) actors.Payload {
	p := actors.Payload{TypeURL: a.GetTypeUrl(), ContentType: actors.ContentProtobuf, Data: a.GetValue()}
	if !strings.HasPrefix(p.TypeURL, catalog.JSONPrefix) || len(p.Data) < 2 || p.Data[0] != jsonField {
		return p
	}
	text, n := protowire.ConsumeBytes(p.Data[1:])
	if n < 0 || n != len(p.Data)-1 || protowire.SizeBytes(len(text)) != n {
		return p
	}
	p.ContentType, p.Data = actors.ContentJSON, text
	return p
}

func toAny(p actors.Payload) *anypb.Any {
	a := new(anypb.Any)
	fillAny(a, p)
	return a
}

func fillAny(a *anypb.Any, p actors.Payload) {
	a.TypeUrl, a.Value = p.TypeURL, p.Data
	if p.ContentType == actors.ContentJSON && strings.HasPrefix(p.TypeURL, catalog.JSONPrefix) {
		b := make([]byte, 0, 1+protowire.SizeBytes(len(p.Data)))
		a.Value = protowire.AppendBytes(append(b, jsonField), p.Data)
	}
}

func fromMetadata(m *cloudstate.Metadata) actors.Metadata {
	var list actors.Metadata
	for _, e := range m.GetEntries() {
		list = append(list, actors.Entry{Key: e.GetKey(), Text: e.GetStringValue(), Bytes: e.GetBytesValue()})
	}
	return list
}

// toMetadata returns nil for no metadata. Text that protobuf could not carry becomes bytes.
func toMetadata(list actors.Metadata) *cloudstate.Metadata {
	if len(list) == 0 {
		return nil
	}
	// All entries in one piece, and all texts.
	entries := make([]cloudstate.MetadataEntry, len(list))
	texts := make([]cloudstate.MetadataEntry_StringValue, len(list))
	m := &cloudstate.Metadata{Entries: make([]*cloudstate.MetadataEntry, len(list))}
	for i, e := range list {
		entry := &entries[i]
		entry.Key = strings.ToValidUTF8(e.Key, "\uFFFD")
		switch {
		case e.Bytes != nil:
			entry.Value = &cloudstate.MetadataEntry_BytesValue{BytesValue: e.Bytes}
		case !utf8.ValidString(e.Text):
			entry.Value = &cloudstate.MetadataEntry_BytesValue{BytesValue: []byte(e.Text)}
		default:
			texts[i].StringValue = e.Text
			entry.Value = &texts[i]
		}
		m.Entries[i] = entry
	}
	return m
}
