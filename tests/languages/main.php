<?php
require __DIR__ . '/adieu.php';
echo adieu_subject(getenv('VERIFY'));
