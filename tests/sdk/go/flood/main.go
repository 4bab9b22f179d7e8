// Command flood publishes the lines of a file over and over for some seconds, with many events under way, and prints how many
// were acked a second. It uses go-ensign's client and its publish stream, and takes everything else from the environment
// variables that the SDK reads.
//
//	flood FILE TOPIC SECONDS
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/rotationalio/go-ensign"
	api "github.com/rotationalio/go-ensign/api/v1beta1"
	mimetype "github.com/rotationalio/go-ensign/mimetype/v1beta1"
)

// window is how many events may be under way: as many as `ensign bench publish` has.
const window = 16384

// step is how many acks are counted before more events may go: a channel operation for each would be what is measured.
const step = 256

func main() {
	rate, err := flood(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(rate)
}

func flood(arguments []string) (rate int64, err error) {
	if len(arguments) != 3 {
		return 0, fmt.Errorf("usage: flood FILE TOPIC SECONDS")
	}
	seconds, err := strconv.Atoi(arguments[2])
	if err != nil {
		return 0, err
	}
	content, err := os.ReadFile(arguments[0])
	if err != nil {
		return 0, err
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))

	client, err := ensign.New()
	if err != nil {
		return 0, err
	}
	stream, err := client.PublishStream(context.Background())
	if err != nil {
		return 0, err
	}
	topic, err := open(stream, arguments[1])
	if err != nil {
		return 0, err
	}

	started := time.Now()
	room := make(chan struct{}, window/step)
	for len(room) < cap(room) {
		room <- struct{}{}
	}
	acked := make(chan result, 1)
	go func() { acked <- receive(stream, room) }()
	if err = send(stream, topic, lines, room, started.Add(time.Duration(seconds)*time.Second)); err != nil {
		return 0, err
	}
	if err = stream.CloseSend(); err != nil {
		return 0, err
	}
	outcome := <-acked
	return outcome.acks * int64(time.Second) / int64(outcome.last.Sub(started)), outcome.err
}

// open begins the stream; gives the id of the topic.
func open(stream api.Ensign_PublishClient, topic string) ([]byte, error) {
	open := &api.OpenStream{ClientId: ulid.Make().String()}
	if err := stream.Send(&api.PublisherRequest{Embed: &api.PublisherRequest_OpenStream{OpenStream: open}}); err != nil {
		return nil, err
	}
	reply, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	id, ok := reply.GetReady().GetTopics()[topic]
	if !ok {
		return nil, fmt.Errorf("there is no topic %s", topic)
	}
	return id, nil
}

// send publishes as fast as there is room, until it is late.
func send(stream api.Ensign_PublishClient, topic []byte, lines [][]byte, room chan struct{}, until time.Time) error {
	for number := uint64(0); ; number++ {
		if number%step == 0 {
			<-room
			if time.Now().After(until) {
				return nil
			}
		}
		event := &api.Event{Data: lines[number%uint64(len(lines))], Mimetype: mimetype.ApplicationJSON}
		wrapper := &api.EventWrapper{TopicId: topic, LocalId: make([]byte, 16)}
		binary.BigEndian.PutUint64(wrapper.LocalId[8:], number)
		if err := wrapper.Wrap(event); err != nil {
			return err
		}
		if err := stream.Send(&api.PublisherRequest{Embed: &api.PublisherRequest_Event{Event: wrapper}}); err != nil {
			return err
		}
	}
}

type result struct {
	acks int64
	last time.Time
	err  error
}

// receive counts acks until the stream ends.
func receive(stream api.Ensign_PublishClient, room chan struct{}) (counted result) {
	defer close(room)
	for {
		reply, err := stream.Recv()
		if err != nil {
			if err.Error() != "EOF" {
				counted.err = err
			}
			return counted
		}
		switch {
		case reply.GetAck() != nil:
			counted.acks++
			if counted.acks%step == 0 {
				counted.last = time.Now()
				room <- struct{}{}
			}
		case reply.GetNack() != nil:
			counted.err = fmt.Errorf("nack: %s", reply.GetNack().Error)
			return counted
		}
	}
}
